"""What forbids a comparison before it is made, and what is said of collapsed features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.judge.refusals import collapse_warnings, count_collapsed, nothing_learned, refusals
from search.judge.verdict import verdict
from search.strategy.confirmation import next_after_search
from search.strategy.search_order import SearchOrder
from search.strategy.stage import end_search
from tests.written import WrittenStudy

EVEN = (36,) * 10
SHORT: dict[str, Any] = {"budget": {"trials": 3}}


def searched(path: Path, scores: dict[str, float], **changes: Any) -> WrittenStudy:
    """Search and confirmation, with the same score in all trials of an arm."""
    study = WrittenStudy(path, val_counts=EVEN, **changes)
    study.follow(SearchOrder(study), score=lambda ask: scores[ask.arm])
    end_search(study)
    study.follow(lambda: next_after_search(study), score=lambda ask: scores[ask.arm])
    return study


def test_a_study_in_which_every_trial_scores_at_chance_says_so_first(tmp_path: Path) -> None:
    study = searched(tmp_path, {"supcon": 0.13, "ce": 0.1}, **SHORT)
    for arm in study.arms:
        study.test(arm, [0, 1, 2], 3)
    found = verdict(study)
    assert found.text == (
        "No verdict: every trial scores at chance, at most 13.0% on val, where 10.0% of val is one "
        "class, and luck may reach 16.1%; look at the images and labels."
    )
    assert [each.probes for each in found.comparisons] == [None]


def test_so_does_one_in_which_both_arms_gave_up_over_it(tmp_path: Path) -> None:
    study = searched(tmp_path, {"supcon": 0.1, "ce": 0.1}, budget={"trials": 99, "give_up": 2})
    said = nothing_learned(study)
    assert said is not None
    assert said.startswith("every trial scores at chance, at most 10.0% on val")
    assert "; supcon gave up after 2 trials: 2 of 2 never scored above chance" in said
    assert "; ce gave up after 2 trials: " in said


def test_an_arm_that_gave_up_forbids_a_verdict_whatever_the_other_found(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, val_counts=EVEN, budget={"total_epochs": 36, "give_up": 2})
    study.follow(
        SearchOrder(study), outcome=lambda ask: "diverged" if ask.arm == "ce" else "completed"
    )
    end_search(study)
    said = verdict(study).text
    assert said.startswith("No verdict: ce gave up after 2 trials: 2 of 2 ended diverged")


def test_an_arm_that_learned_nothing_in_a_few_trials_forbids_it_too(tmp_path: Path) -> None:
    study = searched(tmp_path, {"supcon": 0.9, "ce": 0.1}, **SHORT)
    assert nothing_learned(study) == (
        "no trial of ce scores above chance (10.0% of val is one class, and luck may reach 16.1%)"
    )


def test_a_study_of_one_arm_at_chance_says_that_rather_than_that_it_has_one_arm(
    tmp_path: Path,
) -> None:
    study = searched(tmp_path, {"ce": 0.1}, arms={"ce": {"loss.name": "ce"}}, **SHORT)
    assert verdict(study).text.startswith("No verdict: every trial scores at chance")


def test_nothing_is_said_before_the_search_is_over_or_of_an_older_log(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path / "a", val_counts=EVEN)
    study.trial("ce", 0, 0.1)
    assert nothing_learned(study) is None
    older = WrittenStudy(tmp_path / "b", budget={"trials": 1})
    older.follow(SearchOrder(older), score=lambda ask: 0.0)
    end_search(older)
    assert nothing_learned(older) is None


def test_arms_that_learned_something_are_compared(tmp_path: Path) -> None:
    assert nothing_learned(searched(tmp_path, {"supcon": 0.9, "ce": 0.3}, **SHORT)) is None


@pytest.mark.parametrize(("baseline", "is_any_left"), [("ce", True), ("sincere", False)])
def test_of_three_arms_one_at_chance_is_left_out_unless_it_is_the_baseline(
    tmp_path: Path, baseline: str, is_any_left: bool
) -> None:
    arms = {arm: {"loss.name": arm} for arm in ("supcon", "sincere", "ce")}
    scores = {"supcon": 0.9, "sincere": 0.1, "ce": 0.8}
    study = searched(tmp_path, scores, arms=arms, baseline=baseline, **SHORT)
    why = "no trial of sincere scores above chance (10.0% of val is one class, and luck may reach"
    found = refusals(study, dict.fromkeys(arms, 3))
    said = found.arms["sincere"] if is_any_left else str(found.everything)
    assert said.startswith(why)
    assert (nothing_learned(study) is None) == (found.everything is None) == is_any_left
    assert found.waiting == frozenset()


@pytest.mark.parametrize("n_arms", [1, 2])
def test_collapsed_trials_are_counted_and_warned_of_by_arm(tmp_path: Path, n_arms: int) -> None:
    arms = {name: {"loss.name": name} for name in ("ce", "supcon")[:n_arms]}
    study = WrittenStudy(tmp_path, arms=arms)
    for number, (whole, classes) in enumerate([(0, 0), (1, 3), (0, 2), (0, 1), (1, 3)]):
        study.ask("ce", number)
        spread = {"val/collapsed": float(whole), "val/collapsed_classes": float(classes)}
        study.report("ce", number, 1, 0.1, metrics={"val/probe_top1": 0.1} | spread)
    assert count_collapsed(study.log.of("ce")) == (2, 2)
    assert collapse_warnings(study) == [
        "ce: in 2 of 5 trials the features of all val images are equal (collapsed); trials.csv has "
        "which",
        "ce: in 2 of 5 trials the features of whole classes of val are equal; trials.csv has which",
    ]
    assert verdict(study).warnings[:2] == collapse_warnings(study)
