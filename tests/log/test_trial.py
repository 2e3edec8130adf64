"""A trial as its events tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.events import TIME_UP
from search.log.study import Study
from tests.written import WrittenStudy


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(tmp_path)


def test_a_trial_that_has_ended_has_cost_at_least_an_epoch(study: WrittenStudy) -> None:
    study.trial("ce", 0, 0.9)
    study.ask("ce", 1)
    study.end("ce", 1, "failed")
    assert study.log.totals("ce").epochs == 9 + 1
    study.ask("ce", 2)
    study.end("ce", 2, "diverged", epochs=5)
    assert study.log.totals("ce").epochs == 9 + 1 + 5


def test_a_trial_that_the_time_cut_is_told_from_one_that_was_stopped(study: WrittenStudy) -> None:
    for number, detail in enumerate(("", TIME_UP)):
        study.ask("ce", number)
        study.end("ce", number, "stopped", detail=detail)
    study.ask("ce", 2)
    assert [trial.ending for trial in study.log.of("ce")] == ["stopped", "cut", "unfinished"]


def test_the_speed_of_a_trial_is_that_since_the_report_before(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    (trial,) = study.log.of("ce")
    assert trial.views_per_second is None
    study.report("ce", 0, 1, 0.5, views=100, seconds=2)
    assert trial.views_per_second == 50
    study.report("ce", 0, 3, 0.5, views=500, seconds=4)
    assert trial.views_per_second == 200


@pytest.mark.parametrize(
    ("changes", "score"),
    [({}, 0.9), ({"selection": "top1"}, 0.9), ({"selection": "balanced"}, 0.6)],
)
def test_a_score_is_what_the_study_selects_by_and_accuracy_in_an_older_log(
    tmp_path: Path, changes: dict[str, str], score: float
) -> None:
    study = WrittenStudy(tmp_path / "a", **changes)
    study.ask("ce", 0)
    metrics = {"val/probe_top1": 0.9, "val/probe_balanced": 0.6}
    study.report("ce", 0, 9, 0, metrics=metrics)
    (trial,) = Study.open(study.folder.path).log.of("ce")
    assert trial.score == trial.scores[9] == score
