"""Searches on digits through the real command line, and what their logs tell."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search.log.events import Ask, End, Examined, Report, Tested
from search.log.journal import Journal
from tests.programs import Forked, Program

ROOT = Path(__file__).resolve().parents[2]
RUN, QUICK_RUN = ROOT / "search" / "run.py", ROOT / "tests" / "quick_run.py"
QUICK_NODE = ROOT / "tests" / "quick_node.py"
DIGITS = str(ROOT / "spaces" / "digits.yaml")
SMALL = [
    "--trials", "4", "--epochs", "3", "--concurrency", "1", "--set", "data.train_size=300",
    "--set", "data.val_size=0.1",
    "--set", "scheduler.asha.grace=1", "--set", "average.bn_images=256",
    "--set", "params.data.batch_size={pow2: [32, 64]}", "--set", "points={}",
    "--set", "confirm={top: 1, seeds: 3, references: false}",
    "--set", "scheduler.asha.sentinels=0", "--set", "probe.l2=[0.01]", "--set", "probe.max_iter=30",
]  # fmt: skip


def start(
    home: Path, results: Path, *arguments: str, program: Path = RUN, launch: type[Program] = Forked
) -> Program:
    """Start a search in its own session, from another folder than the repository."""
    argv = [str(program), "--space", DIGITS, "--results", str(results), *arguments]
    where = os.environ | {"HOME": str(home), "RAY_TMPDIR": str(home)}
    output = Path(tempfile.mkstemp(".txt", dir=home)[1])
    return launch(argv, home, where, output)


def finish(process: Program) -> tuple[int, str]:
    return process.wait(timeout=900), process.output.read_text()


def wait_for(process: Program, log: Path, is_reached: Callable[[str], bool]) -> None:
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


def scores_after(run: Path, epoch: int) -> dict[str, float]:
    """What the curves of a training run say of val after an epoch, in single precision."""
    curves = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        tag: point.value
        for tag in curves.Tags()["scalars"]
        if tag.startswith("val/")
        for point in curves.Scalars(tag)
        if point.step == epoch
    }


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
            case Examined():
                found.append(("examined", event.key, event.values))
    return found
