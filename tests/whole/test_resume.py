"""Searches that are killed, interrupted, moved, out of time or without a disk, and go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from search.log.journal import Journal
from search.run import main as search
from tests.benchmarks.reliability import chaos
from tests.whole.searching import DIGITS, SMALL, finish, start, story, wait_for

pytestmark = pytest.mark.slow


def test_a_search_that_is_killed_and_resumed_loses_and_repeats_nothing() -> None:
    found = chaos(at_once=1, kills=3, seed=1, trials=4)  # several at once: in test_cluster.py
    assert found["driver"] + found["worker"] + found["group"] >= 2  # a worker may be away
    assert found["at_end"] == 1
    assert (found["lost"], found["repeated"]) == (0, 0)
    assert found["trials"] == 2 * (4 + 2 + 3)
    assert found["same_log"] is found["same_verdict"] is True


def test_ctrl_c_stops_cleanly_with_a_report_and_can_be_resumed(home: Path, tmp_path: Path) -> None:
    process = start(home, tmp_path, *SMALL, "--name", "mine")
    log = tmp_path / "mine" / "events.jsonl"
    wait_for(process, log, lambda text: '"outcome":"completed"' in text)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    code, output = finish(process)
    assert code == 130, output
    assert "stopping at the next record" in output
    assert "interrupted; go on with the same --space and --name mine --resume" in output
    assert "No verdict: the search is not over; go on with --resume" in output
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


def test_a_study_that_can_no_longer_be_written_ends_in_one_line_and_goes_on_later(
    home: Path, tmp_path: Path
) -> None:
    process = start(home, tmp_path, *SMALL)
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
    code, output = finish(start(home, tmp_path, "--resume"))
    assert code == 0, output
    ends = [event[1] for event in story(tmp_path / "digits") if event[0] == "end"]
    assert len(ends) == len(set(ends)) == 2 * (4 + 3)


def test_a_search_whose_time_is_up_ends_with_a_report(home: Path, tmp_path: Path) -> None:
    flags = [*SMALL, "--trials", "500", "--time", "75s", "--set", "budget.total_epochs=null"]
    code, output = finish(start(home, tmp_path, *flags))
    assert code == 0, output
    journal = Journal.open(tmp_path / "digits" / "events.jsonl")
    assert journal.unfinished("search") == []
    assert max(len(journal.of(arm)) for arm in ("supcon", "ce")) < 500
    assert all(journal.of(arm, "confirm") for arm in ("supcon", "ce"))  # time was kept for it
    assert (tmp_path / "digits" / "report.md").exists()
    done = story(tmp_path / "digits")
    code, output = finish(start(home, tmp_path, "--resume"))  # no time is left: only the report
    assert code == 0, output
    assert [event for event in story(tmp_path / "digits") if event[0] != "tested"] == [
        event for event in done if event[0] != "tested"
    ]


def test_a_finished_study_resumes_to_its_report(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = story(copy)
    assert search(["--space", DIGITS, "--results", str(copy.parent), "--resume"]) == 0
    assert story(copy) == before
    assert "report    " in capsys.readouterr().out


def test_a_moved_study_goes_on_with_a_larger_budget(copy: Path, home: Path) -> None:
    before = story(copy)
    flags = ["--extend", "--trials", "6", "--concurrency", "2"]
    code, output = finish(start(home, copy.parent, *flags))
    assert code == 0, output
    assert story(copy)[: len(before)] == before
    summary = json.loads((copy / "summary.json").read_text())
    for facts in summary["arms"].values():
        assert facts["trials"] == 6
        assert len(facts["confirm"]["seeds"]) == 3
    assert summary["test_evaluations"] >= 6


def test_images_that_changed_are_noticed_before_a_study_goes_on(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = copy / "events.jsonl"
    first, rest = log.read_text().split("\n", 1)
    opened = json.loads(first)
    opened["data_hash"] = "0" * 32
    log.write_text(json.dumps(opened) + "\n" + rest)
    assert search(["--space", DIGITS, "--results", str(copy.parent), "--resume"]) == 2
    assert "was started on other images" in capsys.readouterr().err
    assert log.read_text().endswith(rest)
