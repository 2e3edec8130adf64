"""Searches on digits through the real command line, and what their logs tell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from search.log.events import Ask, End, Report, Tested
from search.log.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
RUN, QUICK_RUN = ROOT / "search" / "run.py", ROOT / "tests" / "quick_run.py"
DIGITS = str(ROOT / "spaces" / "digits.yaml")
SMALL = [
    "--trials", "4", "--epochs", "3", "--concurrency", "1", "--set", "data.train_size=300",
    "--set", "scheduler.asha.grace=1", "--set", "average.bn_images=256",
    "--set", "params.data.batch_size={pow2: [32, 64]}", "--set", "points={}",
    "--set", "confirm={top: 1, seeds: 3, references: false}",
    "--set", "scheduler.asha.sentinels=0", "--set", "probe.l2=[0.01]", "--set", "probe.max_iter=30",
]  # fmt: skip


def start(
    home: Path, results: Path, *arguments: str, output: int | IO[str] = subprocess.PIPE,
    program: Path = RUN,
) -> subprocess.Popen[str]:  # fmt: skip
    """Start a search in its own process group, from another folder than the repository."""
    command = [sys.executable, str(program), "--space", DIGITS]
    return subprocess.Popen(
        [*command, "--results", str(results), *arguments],
        env=os.environ | {"HOME": str(home), "RAY_TMPDIR": str(home)}, cwd=home,
        start_new_session=True, text=True, stdout=output, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=900)
    return process.returncode, output


def wait_for(process: subprocess.Popen[str], log: Path, is_reached: Callable[[str], bool]) -> None:
    """Wait until the log says so; the search must still be running then."""
    for _ in range(12000):
        assert process.poll() is None, finish(process)[1]
        if log.exists() and is_reached(log.read_text()):
            return
        time.sleep(0.05)
    raise AssertionError(f"{log} never got there")


def processes(pid: int) -> set[int]:
    """A process, all that it has started, and what that has."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended in the meantime
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def story(study: Path) -> list[tuple[Any, ...]]:
    """What happened, without times."""
    found: list[tuple[Any, ...]] = []
    for event in Journal.open(study / "events.jsonl").events:
        match event:
            case Ask():
                found.append(("ask", event.key, event.changes, event.seed, event.of))
            case Report():
                found.append(("report", event.key, event.epoch, event.metrics, event.decision))
            case End():
                found.append(("end", event.key, event.outcome))
            case Tested():
                found.append(("tested", event.key, event.metrics, event.correct))
    return found
