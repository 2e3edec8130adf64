"""Whole searches on digits through the real command line: run, kill, resume, interrupt, retrain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search.events import Ask, End, Journal, Report, Unsealed
from search.run import main as search

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "--trials", "4", "--epochs", "3", "--concurrency", "1", "--set", "data.train_size=300",
    "--set", "scheduler.asha.grace=1", "--set", "average.bn_images=256",
    "--set", "params.data.batch_size={pow2: [32, 64]}",
]  # fmt: skip


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home for Ray's files; its path is short, since sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="ss-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def start(home: Path, results: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a search in its own process group, from another folder than the repository."""
    environment = os.environ | {"HOME": str(home), "RAY_TMPDIR": str(home)}
    run, space = str(ROOT / "search" / "run.py"), str(ROOT / "spaces" / "digits.yaml")
    return subprocess.Popen(
        [sys.executable, run, "--space", space, "--results", str(results), *arguments],
        env=environment, cwd=home, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def wait_for(process: subprocess.Popen[str], log: Path, is_reached: Callable[[str], bool]) -> None:
    """Wait until the log says so; the search must still be running then."""
    for _ in range(3000):
        assert process.poll() is None, finish(process)[1]
        if log.exists() and is_reached(log.read_text()):
            return
        time.sleep(0.05)
    raise AssertionError(f"{log} never got there")


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and output of a search that nobody disturbed."""
    results = tmp_path_factory.mktemp("whole")
    code, output = finish(start(home, results, *SMALL))
    assert code == 0, output
    return results / "digits", output


def story(study: Path) -> list[tuple[Any, ...]]:
    """What happened, without times."""
    found: list[tuple[Any, ...]] = []
    for event in Journal.open(study / "events.jsonl").events:
        match event:
            case Ask():
                found.append(("ask", event.key, event.params, event.seed, event.of))
            case Report():
                found.append(("report", event.key, event.epoch, event.metrics, event.decision))
            case End():
                found.append(("end", event.key, event.outcome))
            case Unsealed():
                found.append(("tested", event.key, event.metrics, event.correct))
    return found


def test_a_search_ends_with_both_arms_confirmed_and_tested(whole: tuple[Path, str]) -> None:
    study, output = whole
    summary = json.loads((study / "summary.json").read_text())
    for arm in ("supcon", "ce"):
        facts = summary["arms"][arm]
        assert facts["trials"] == 4
        assert set(facts["outcomes"]) == {"completed", "stopped"}
        assert facts["best"]["val"]["probe_top1"] > 0.5  # chance is 0.1
        assert len(set(facts["confirm"]["seeds"])) == 3
        assert facts["best"]["seed"] not in facts["confirm"]["seeds"]
        assert min(facts["confirm"]["test_probe_top1"]) > 0.6
    assert summary["verdict"]["text"] in output
    assert summary["test_evaluations"] == 6
    for name in ("report.md", "trials.csv", "best/supcon.yaml", "best/ce.yaml", "tensorboard/ce-0"):
        assert (study / name).exists()
        assert name.split("/")[0] in output
    assert "| ce     | CE head" in output
    assert "dashboard http://127.0.0.1:" in output
    assert list(study.glob("trials/*/last.pt")) == []


def test_only_our_own_lines_are_printed(whole: tuple[Path, str]) -> None:
    _, output = whole
    for noise in ("WARNING", "Warning", "(pid=", "ray.init", "[I ", "TUNE_", "Traceback"):
        assert noise not in output


def test_test_images_are_opened_after_all_training(whole: tuple[Path, str]) -> None:
    kinds = [event[0] for event in story(whole[0])]
    assert kinds.index("tested") > max(i for i, kind in enumerate(kinds) if kind != "tested")


def test_a_killed_search_resumes_to_the_same_story(
    whole: tuple[Path, str], home: Path, tmp_path: Path
) -> None:
    process = start(home, tmp_path, *SMALL)
    log = tmp_path / "digits" / "events.jsonl"
    wait_for(process, log, lambda text: text.count('"event":"report"') >= 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    n_before = len(story(tmp_path / "digits"))
    code, output = finish(start(home, tmp_path, "--resume", "--concurrency", "1"))
    assert code == 0, output
    after = story(tmp_path / "digits")
    assert len(after) > n_before
    assert after == story(whole[0])


def test_a_trial_whose_worker_dies_goes_on_from_its_checkpoint(
    whole: tuple[Path, str], home: Path, tmp_path: Path
) -> None:
    process = start(home, tmp_path, *SMALL)
    log = tmp_path / "digits" / "events.jsonl"
    wait_for(process, log, lambda text: '"event":"report"' in text)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    code, output = finish(process)
    assert code == 0, output
    assert story(tmp_path / "digits") == story(whole[0])


def worker_of(driver: int) -> int:
    """The process that trains for a driver: a descendant that Ray named after the trainable."""
    lines = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    rows = [line.split(maxsplit=2) for line in lines]
    parent = {int(pid): int(ppid) for pid, ppid, *_ in rows}
    for pid, _, *args in rows:
        ancestor = int(pid)
        while ancestor in parent and ancestor != driver:
            ancestor = parent[ancestor]
        if ancestor == driver and args and "Trainable" in args[0]:
            return int(pid)
    raise AssertionError("no worker is training")


def test_ctrl_c_stops_cleanly_with_a_report_and_can_be_resumed(home: Path, tmp_path: Path) -> None:
    process = start(home, tmp_path, *SMALL, "--name", "mine")
    log = tmp_path / "mine" / "events.jsonl"
    wait_for(process, log, lambda text: '"outcome":"completed"' in text)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    code, output = finish(process)
    assert code == 130, output
    assert "stopping at the next record" in output
    assert "interrupted; go on with the same --space and --name mine --resume" in output
    assert "No verdict: it needs 3 confirmed seeds" in output
    assert "Traceback" not in output
    assert (tmp_path / "mine" / "report.md").exists()
    done = {event[1] for event in story(tmp_path / "mine") if event[0] == "end"}
    code, output = finish(start(home, tmp_path, "--resume", "--name", "mine"))
    assert code == 0, output
    asked = [event[1] for event in story(tmp_path / "mine") if event[0] == "ask"]
    assert len(asked) == len(set(asked)) == 2 * (4 + 3)
    ends = [event[1] for event in story(tmp_path / "mine") if event[0] == "end"]
    assert len(ends) == len(set(ends))
    assert done <= set(ends)


def test_the_exported_config_repeats_the_trial_without_ray(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    study, _ = whole
    out = tmp_path / "best.yaml"
    command = [sys.executable, str(ROOT / "search" / "export.py"), str(study), "--out", str(out)]
    subprocess.run(command, check=True, cwd=tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "supcon", "train", str(out), "--out", str(tmp_path / "run")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    best = json.loads((study / "summary.json").read_text())["arms"]["supcon"]["best"]
    printed = dict(line.split() for line in done.stdout.splitlines() if line.startswith("  val/"))
    assert printed == {f"val/{name}": f"{value:.6f}" for name, value in best["val"].items()}


def test_a_finished_study_resumes_to_its_report(
    whole: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "digits"
    shutil.copytree(whole[0], copy)
    before = story(copy)
    space = str(ROOT / "spaces" / "digits.yaml")
    assert search(["--space", space, "--results", str(tmp_path), "--resume"]) == 0
    assert story(copy) == before
    assert "wrote" in capsys.readouterr().out
