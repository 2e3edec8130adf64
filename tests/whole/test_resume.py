"""Searches that are killed, moved, out of time or without a disk, and go on."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from search.log.events import Promoted
from search.log.journal import Journal
from supcon.train import Run
from tests.benchmarks.reliability import SPACE, Kill, lost, repeated, run_and_kill
from tests.benchmarks.reliability import story as told
from tests.whole.searching import DIGITS, QUICK_RUN, SMALL, finish, start, story, wait_for
from tests.without_ray import searched

pytestmark = pytest.mark.slow

FEW = [*SMALL, "--trials", "2"]


def resumed(results: Path, *arguments: str) -> tuple[int, str]:
    """Go on with a search on digits, without Ray: it takes over what Ray's left."""
    return searched("--space", DIGITS, "--results", str(results), "--resume", *arguments)


@pytest.mark.usefixtures("_quick")
def test_a_search_that_is_killed_and_resumed_has_the_log_of_one_without_ray(tmp_path: Path) -> None:
    flags = (
        "--concurrency", "1", "--cpus-per-trial", "0.5", "--trials", "2", "--epochs", "3",
        "--set", "confirm.seeds=1", "--set", "probe.l2=[0.01]", "--set", "data.train_size=256",
        "--set", "data.val_size=0.1", "--set", "scheduler.asha.reduction=2", "--seed", "1",
    )  # fmt: skip
    space = tmp_path / "x.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    line = ["--space", str(space), "--results", str(tmp_path), *flags]
    code, output = searched(*line)
    assert code == 0, output
    undisturbed = Journal.open(tmp_path / "x" / "events.jsonl").events
    rng = np.random.default_rng(1)
    plan = [Kill("line", 9, "worker"), Kill("line", 24, "driver")]  # more: tests.benchmarks.faults
    events, verdict, killed = run_and_kill(flags, plan, rng)  # several at once: in test_cluster.py
    assert killed["driver"] == 1
    assert (lost(events), repeated(events)) == (set(), [])
    assert told(events) == told(undisturbed)
    assert [event.why for event in events if isinstance(event, Promoted)] == ["rung"] * 2
    assert verdict == json.loads((tmp_path / "x" / "summary.json").read_text())["verdict"]


def test_a_study_that_can_no_longer_be_written_ends_in_one_line_and_goes_on_later(
    home: Path, tmp_path: Path
) -> None:
    process = start(home, tmp_path, *FEW, program=QUICK_RUN)
    log = tmp_path / "digits" / "events.jsonl"
    wait_for(process, log, lambda text: '"event":"report"' in text)
    (tmp_path / "digits").rename(tmp_path / "elsewhere")
    code, output = finish(process)
    assert code == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert f"{log}: cannot be written" in line.replace(str(log.resolve()), str(log))
    assert "Traceback" not in output
    shutil.rmtree(tmp_path / "digits", ignore_errors=True)  # what trials wrote in the meantime
    (tmp_path / "elsewhere").rename(tmp_path / "digits")
    code, output = resumed(tmp_path)
    assert code == 0, output
    ends = [event[1] for event in story(tmp_path / "digits") if event[0] == "end"]
    assert len(ends) == len(set(ends)) == 2 * (2 + 3)


def test_a_search_whose_time_is_up_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Run.step

    def slow(run: Run, *args: Any) -> Any:
        time.sleep(0.03)  # trials take their time, but little of a CPU
        return step(run, *args)

    monkeypatch.setattr(Run, "step", slow)
    flags = [*SMALL, "--trials", "500", "--time", "30s", "--set", "budget.total_epochs=null"]
    flags += ["--set", "confirm={top: 1, seeds: 1, references: false}"]
    code, output = searched("--space", DIGITS, "--results", str(tmp_path), *flags)
    assert code == 0, output
    journal = Journal.open(tmp_path / "digits" / "events.jsonl")
    assert journal.unfinished("search") == []
    assert max(len(journal.of(arm)) for arm in ("supcon", "ce")) < 500
    assert all(journal.of(arm, "confirm") for arm in ("supcon", "ce"))  # time was kept for it
    assert (tmp_path / "digits" / "report.md").exists()
    done = story(tmp_path / "digits")
    code, output = resumed(tmp_path)  # no time is left: only the report
    assert code == 0, output
    looked = ("tested", "examined")
    assert [event for event in story(tmp_path / "digits") if event[0] not in looked] == [
        event for event in done if event[0] not in looked
    ]


def test_a_finished_study_resumes_to_its_report(copy: Path) -> None:
    before = story(copy)
    code, output = resumed(copy.parent)
    assert code == 0, output
    assert story(copy) == before
    assert "report    " in output


def test_a_moved_study_goes_on_with_a_larger_budget(copy: Path) -> None:
    before = story(copy)
    line = ["--space", DIGITS, "--results", str(copy.parent), "--extend", "--trials", "6"]
    code, output = searched(*line)
    assert code == 0, output
    assert story(copy)[: len(before)] == before
    summary = json.loads((copy / "summary.json").read_text())
    for facts in summary["arms"].values():
        assert facts["trials"] == 6
        assert len(facts["confirm"]["seeds"]) == 3
    assert summary["test_evaluations"] >= 6


def test_images_that_changed_are_noticed_before_a_study_goes_on(copy: Path) -> None:
    log = copy / "events.jsonl"
    first, rest = log.read_text().split("\n", 1)
    opened = json.loads(first)
    opened["data_hash"] = "0" * 32
    log.write_text(json.dumps(opened) + "\n" + rest)
    code, output = resumed(copy.parent)
    assert code == 2
    assert "was started on other images" in output
    assert log.read_text().endswith(rest)
