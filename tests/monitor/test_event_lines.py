"""Lines of a search, one for each event that somebody would care about."""

from __future__ import annotations

import re

import pytest

from search.log.events import Examined, Pictured, Retry, Searched, Slept
from search.monitor.event_lines import EventLines
from tests.written import WrittenStudy


@pytest.fixture
def study(study: WrittenStudy) -> WrittenStudy:
    study.log.listeners.append(EventLines(study))
    return study


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed since, without the time that each line begins with."""
    return [re.sub(r"^\d+:\d\d:\d\d  ", "", line) for line in capsys.readouterr().out.splitlines()]


def test_a_trial_is_told_from_its_start_to_its_end(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.ask("ce", 0, params={"optim.lr_per_256": 0.5, "data.batch_size": 64})
    study.report("ce", 0, 1, 0.25)
    study.report("ce", 0, 9, 0.5, decision="done")
    study.end("ce", 0, "completed")
    assert lines(capsys) == [
        "ce-0               start      lr_per_256=0.5  batch_size=64",
        "ce-0               rung       epoch   1/9  probe 25.00%",
        "ce-0               completed  epoch   9/9  probe 50.00%   "
        "| ce: best 50.00% (ce-0), 9/36 epochs",
    ]


def test_a_trial_that_goes_wrong_says_of_what(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.ask("ce", 0, params={})
    study.add(Retry, arm="ce", phase="search", number=0, detail="out of memory")
    study.end("ce", 0, "failed", epochs=2, detail="OSError: no space left")
    _, retry, failed = lines(capsys)
    assert retry == "ce-0               retry      alone, after: out of memory"
    assert failed == (
        "ce-0               failed     OSError: no space left   "
        "| ce: no full-length trial yet, 2/36 epochs"
    )


def test_features_that_collapsed_are_told_with_the_score(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.ask("ce", 0, params={})
    metrics = {"val/probe_top1": 0.1, "val/collapsed": 1.0, "val/collapsed_classes": 3.0}
    study.report("ce", 0, 1, 0.1, metrics=metrics)
    assert lines(capsys)[-1] == (
        "ce-0               rung       epoch   1/9  probe 10.00%  all features equal"
    )


def test_an_arm_that_gives_up_says_so_once(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(9):
        study.ask("ce", number)
    for number in range(9):
        study.end("ce", number, "diverged", detail="non-finite loss in epoch 1, step 1")
    said = [line for line in lines(capsys) if "gave up" in line]
    assert len(said) == 1
    start = "ce                 gave up    after 8 trials: 8 of 8 ended diverged (non-finite loss"
    assert said[0].startswith(start)


def test_after_the_search_a_line_tells_the_run_and_not_the_search(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in study.arms:
        study.trial(arm, 0, 0.8)
    study.ask("ce", 0, "one_view", of=0, settings={"augment.views": 1, "run.epochs": 18})
    lines(capsys)
    study.report("ce", 0, 18, 0.5, "one_view", decision="done")
    study.end("ce", 0, "completed", "one_view")
    assert lines(capsys) == ["ce-one_view-0      completed  epoch  18/18  probe 50.00%"]


def test_openings_and_scores_of_the_test_images_are_told(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.ask("ce", 0, "confirm")
    lines(capsys)
    study.test("ce", [0], 1)
    opened, tested = lines(capsys)
    assert opened == "          test images opened for ce confirm"
    assert tested.startswith("ce-confirm-0       tested ")


def test_some_measures_of_an_examined_run_are_told(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.ask("ce", 0, "confirm")
    lines(capsys)
    values = {"nll": [0.25, 0.3, 0.2], "ece": [0.01234, 0.1, 0.1], "macro_f1": [0.9, 0.9, 0.9]}
    study.add(
        Examined, arm="ce", phase="confirm", number=0, n_images=9, n_corrupted=9,
        values={"probe": values},
    )  # fmt: skip
    (line,) = lines(capsys)
    assert line == "ce-confirm-0       examined   ece 0.012  nll 0.250"


def test_a_sleep_of_the_machine_is_told(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.add(Slept, seconds=3723.4)
    study.add(Slept, seconds=-60)  # the clock was set
    assert lines(capsys) == ["          the machine slept for 1:02:03, which is not counted"]


def test_what_nobody_waits_for_has_no_line(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.add(Searched)
    key = {"arm": "ce", "phase": "confirm", "number": 0}
    study.add(Pictured, **key, classes=[], labels=[], encoder=[], projection=None)
    study.restart()
    assert lines(capsys) == []


def test_of_unequal_classes_both_measures_are_told(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.ask("ce", 0, params={})
    metrics = {"val/probe_top1": 0.9, "val/probe_balanced": 0.625}
    study.report("ce", 0, 1, 0, metrics=metrics)
    assert lines(capsys)[-1].endswith("epoch   1/9  probe 90.00%  balanced 62.50%")
