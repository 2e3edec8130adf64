"""ASHA's decision, which is read off the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.log.study import Study
from search.strategy.early_stopping import decide, passes
from tests.written import WrittenStudy


@pytest.mark.parametrize(
    ("value", "others", "expected"),
    [
        (0.5, [], True),  # the first at a rung always passes
        (0.5, [0.6], False),  # of two, the best one
        (0.7, [0.6], True),
        (0.5, [0.6, 0.7, 0.1, 0.1, 0.1], False),  # of six, the best two
        (0.65, [0.6, 0.7, 0.1, 0.1, 0.1], True),
        (0.6, [0.6], True),  # a tie with the best passes
        (float("nan"), [], False),  # what is not finite never passes
        (float("inf"), [], False),
    ],
)
def test_a_trial_passes_a_rung_if_it_is_among_the_best_third(
    value: float, others: list[float], expected: bool
) -> None:
    assert passes(value, others, reduction=3) is expected


def new_study(path: Path, scheduler: Any = None, sentinels: float = 0) -> WrittenStudy:
    """Three trials of each arm run."""
    asha = {"grace": 3, "reduction": 3, "sentinels": sentinels, "promotion": False}
    study = WrittenStudy(path, scheduler=scheduler or {"asha": asha})
    for arm in study.arms:
        for number in range(3):
            study.ask(arm, number)
    return study


def reach(study: WrittenStudy, arm: str, number: int, score: float, epoch: int = 3) -> str:
    """A trial reaches an epoch: what is decided about it, before its report is logged."""
    decision = decide(study, (arm, "search", number), epoch, score)
    study.report(arm, number, epoch, score, decision=decision)
    return decision


def test_without_a_scheduler_no_trial_is_stopped(tmp_path: Path) -> None:
    study = new_study(tmp_path, scheduler="none")
    scores = enumerate((0.9, 0.1, 0.0))
    assert {reach(study, "ce", number, score) for number, score in scores} == {"continue"}


def test_trials_are_compared_within_their_arm_at_the_same_rung(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    assert reach(study, "ce", 0, 0.9) == "continue"
    assert reach(study, "ce", 1, 0.1, epoch=2) == "continue"  # no rung
    assert reach(study, "ce", 1, 0.8) == "stop"
    assert reach(study, "supcon", 0, 0.5) == "continue"
    assert reach(study, "ce", 2, 0.95) == "continue"


def test_runs_after_the_search_are_never_stopped(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    reach(study, "ce", 0, 0.9)
    assert decide(study, ("ce", "confirm", 1), 3, 0.1) == "continue"


def test_scores_at_a_rung_are_read_off_the_log(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    reach(study, "ce", 0, 0.9)
    again = Study.open(study.folder.path)
    assert decide(again, ("ce", "search", 1), 3, 0.8) == "stop"


def test_sentinels_train_to_the_end_whatever_the_rungs_say(tmp_path: Path) -> None:
    study = new_study(tmp_path, sentinels=0.1)
    assert reach(study, "ce", 0, 0.9) == "continue"
    assert reach(study, "ce", 1, 0.1) == "continue"
    assert reach(study, "ce", 2, 0.8) == "stop"


def test_a_sentinel_that_is_not_finite_is_stopped(tmp_path: Path) -> None:
    study = new_study(tmp_path, sentinels=0.1)
    assert decide(study, ("ce", "search", 1), 3, float("nan")) == "stop"
