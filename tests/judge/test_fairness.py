"""Were arms searched alike, and how lucky was the best?"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy import stats

from search.judge.fairness import budget_problem, budget_problems, winners_curse
from tests.written import WrittenStudy


def test_the_winners_curse_is_the_search_score_minus_the_fresh_mean() -> None:
    curse = winners_curse(0.95, [0.90, 0.92, 0.91])
    assert curse.confirmed == pytest.approx(0.91)
    assert curse.drop == pytest.approx(0.04)
    oracle = stats.ttest_1samp([0.05, 0.03, 0.04], 0).confidence_interval()
    assert curse.ci95 == pytest.approx(tuple(oracle))


def test_the_winners_curse_of_a_single_seed_has_no_interval() -> None:
    assert winners_curse(0.95, [0.9]).ci95 is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        winners_curse(0.9, [0.5, 0.5, bad])
    with pytest.raises(ValueError, match="finite"):
        winners_curse(bad, [0.5])


@pytest.mark.parametrize(
    ("supcon", "ce", "refused", "warned"),
    [
        (100, 100, False, False),
        (100, 110, False, False),  # a full trial
        (100, 111, False, True),
        (200, 100, False, True),  # half
        (201, 100, True, False),
        (0, 100, True, False),
        (0, 0, False, False),
    ],
)
def test_unequal_budgets_are_warned_of_or_refused(
    supcon: int, ce: int, refused: bool, warned: bool
) -> None:
    found = budget_problem({"supcon": supcon * 1000, "ce": ce * 1000}, 10_000)
    assert [problem is not None for problem in found] == [refused, warned]
    for text in filter(None, found):
        assert f"{ce},000" in text
        assert f"{supcon:,}" in text
        assert "--extend" in text


def test_budgets_are_counted_in_views_of_the_search_alone(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    for arm in ("supcon", "ce"):
        study.trial(arm, 0, 0.8)  # 900 views
    for number in range(3):
        study.trial("ce", number, 0.7, "confirm", of=0)
    study.ask("ce", 1)
    study.report("ce", 1, 9, 0.5)  # as many as a full trial more, although it has not ended
    assert budget_problems(study) == (None, None)
    study.ask("ce", 2)
    study.report("ce", 2, 1, 0.5)
    refusal, warning = budget_problems(study)
    assert refusal is not None
    assert "supcon trained on 900 views, that of ce on 1,900, more than twice" in refusal
    assert warning is None


def test_before_a_trial_has_ended_a_full_one_is_what_its_epochs_will_come_to(
    tmp_path: Path,
) -> None:
    study = WrittenStudy(tmp_path)
    for arm, n in (("supcon", 9), ("ce", 14)):
        for number in range(n):
            study.ask(arm, number)
            study.report(arm, number, 1, 0.5, decision="pause")  # 100 views, of 900 to the end
    assert budget_problems(study) == (None, None)


def test_what_an_arm_spent_that_gave_up_says_nothing_of_the_others(tmp_path: Path) -> None:
    arms = {arm: {"loss.name": arm} for arm in ("supcon", "sincere", "ce")}
    study = WrittenStudy(tmp_path, arms=arms, budget={"trials": 9, "give_up": 2})
    for number in range(2):
        study.ask("sincere", number)
        study.end("sincere", number, "diverged")
    for arm, n_trials in (("supcon", 2), ("ce", 2)):
        for number in range(n_trials):
            study.trial(arm, number, 0.8)
    assert budget_problems(study) == (None, None)
    for number in range(2, 5):
        study.trial("ce", number, 0.8)
    refusal, _ = budget_problems(study)
    assert refusal is not None
    assert refusal.startswith("the search of supcon trained on 1,800 views, that of ce on 4,500")
