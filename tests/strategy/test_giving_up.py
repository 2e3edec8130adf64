"""When an arm gives up, and when it goes on all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.log.events import TIME_UP, Outcome
from search.strategy.budget import may_start
from search.strategy.confirmation import has_best, next_after_search, planned_runs, seed_runs
from search.strategy.giving_up import gave_up_over, hopeful_arms, is_hopeless, is_in_vain
from search.strategy.search_order import SearchOrder
from search.strategy.stage import end_search, stage
from search.strategy.winners import leader, winner
from tests.written import WrittenStudy

EVEN = (36,) * 10
FREE: dict[str, Any] = {"budget": {"trials": 99, "give_up": 4}}


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(tmp_path, val_counts=EVEN, **FREE)


def end(
    study: WrittenStudy, outcome: Outcome, times: int = 1, *, score: float | None = None
) -> None:
    """Further trials of ce; unless they score, they end before their first report."""
    for _ in range(times):
        number = len(study.log.of("ce"))
        study.ask("ce", number)
        if score is not None:
            study.report("ce", number, 9, score)
        study.end("ce", number, outcome)


def numbers(study: WrittenStudy) -> list[int]:
    return [trial.ask.number for trial in gave_up_over(study, "ce")]


@pytest.mark.parametrize("outcome", ["infeasible", "diverged", "failed"])
def test_an_arm_gives_up_when_its_first_trials_all_end_badly(
    study: WrittenStudy, outcome: Outcome
) -> None:
    end(study, outcome, 3)
    assert (numbers(study), may_start(study, "ce")) == ([], True)
    end(study, outcome)
    assert (numbers(study), may_start(study, "ce")) == ([0, 1, 2, 3], False)
    assert may_start(study, "supcon")


@pytest.mark.parametrize("outcome", ["completed", "stopped"])
def test_an_arm_gives_up_when_none_of_its_first_trials_scores_above_chance(
    study: WrittenStudy, outcome: Outcome
) -> None:
    end(study, outcome, 4, score=0.12)
    assert numbers(study) == [0, 1, 2, 3]


def test_trials_that_come_to_nothing_in_different_ways_count_alike(study: WrittenStudy) -> None:
    end(study, "diverged", score=0.1)
    end(study, "completed", score=0.1)
    end(study, "infeasible")
    end(study, "failed")
    assert numbers(study) == [0, 1, 2, 3]


def test_what_scored_well_before_it_diverged_came_to_nothing_all_the_same(
    study: WrittenStudy,
) -> None:
    end(study, "diverged", 4, score=0.9)
    assert numbers(study) == [0, 1, 2, 3]


def test_an_arm_that_has_come_to_something_goes_on(study: WrittenStudy) -> None:
    end(study, "completed", score=0.5)
    end(study, "infeasible", 9)
    end(study, "diverged", 9)
    assert may_start(study, "ce")


def test_an_arm_goes_on_while_a_trial_runs_that_is_above_chance(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    end(study, "diverged", 4)
    assert numbers(study) == [1, 2, 3, 4]
    study.report("ce", 0, 1, 0.5)
    assert numbers(study) == []


def test_an_arm_gives_up_when_so_many_in_a_row_fail_whatever_went_before(
    study: WrittenStudy,
) -> None:
    end(study, "completed", score=0.5)
    end(study, "failed", 3)
    end(study, "diverged")
    end(study, "failed", 3)
    assert numbers(study) == []
    end(study, "failed")
    assert numbers(study) == [5, 6, 7, 8]
    assert not is_hopeless(study, "ce")  # its first trial is worth confirming


def test_trials_that_the_end_of_the_time_cut_say_nothing(study: WrittenStudy) -> None:
    for number in range(9):
        study.ask("ce", number)
        study.end("ce", number, "stopped", detail=TIME_UP)
    assert numbers(study) == []


def test_with_null_an_arm_never_gives_up(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"trials": 99, "give_up": None})
    end(study, "failed", 50)
    assert may_start(study, "ce")


def test_without_the_shares_of_classes_any_score_is_worth_something(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, **FREE)
    end(study, "completed", 9, score=0.0)
    assert may_start(study, "ce")


# Going on


def test_a_study_that_is_resumed_tries_a_handful_again_of_what_failed(study: WrittenStudy) -> None:
    end(study, "failed", 4)
    study.restart()
    assert may_start(study, "ce")
    end(study, "failed", 3)
    assert may_start(study, "ce")
    end(study, "failed")
    assert numbers(study) == [4, 5, 6, 7]


@pytest.mark.parametrize("outcome", ["infeasible", "diverged", "completed"])
def test_what_would_end_alike_is_not_tried_again_by_resuming(
    study: WrittenStudy, outcome: Outcome
) -> None:
    end(study, outcome, 4, score=0.1)
    study.restart()
    assert numbers(study) == [0, 1, 2, 3]
    study.restart(budget={"trials": 200, "give_up": 4})  # of the other arm
    assert numbers(study) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("here", "changes"),
    [
        ({"commit": "another"}, {}),
        ({"versions": {"torch": "3"}}, {}),
        ({"machine": "with more memory"}, {}),
        ({}, {"resources": {"cpu": 2}}),
        ({}, {"budget": {"trials": 99, "give_up": 8}}),
    ],
)
def test_it_is_tried_again_if_something_else_was_put_right(
    study: WrittenStudy, here: dict[str, Any], changes: dict[str, Any]
) -> None:
    end(study, "diverged", 4)
    study.restart(here, **changes)
    assert may_start(study, "ce")
    study.restart()  # which puts nothing more right, and takes nothing back
    assert may_start(study, "ce")
    end(study, "diverged", 4)
    assert not may_start(study, "ce")


# What follows


def test_the_other_arm_goes_on_to_its_end(tmp_path: Path) -> None:
    budget = {"total_epochs": 36, "trials": 8, "give_up": 4}
    confirm = {"top": 2, "pick_seeds": 1, "seeds": 3, "references": True}
    study = WrittenStudy(tmp_path, val_counts=EVEN, budget=budget, confirm=confirm)
    study.follow(SearchOrder(study), score=lambda ask: 0.1 if ask.arm == "ce" else 0.9)
    assert [len(study.log.of(arm)) for arm in ("ce", "supcon")] == [4, 4]
    assert hopeful_arms(study) == ["supcon"]
    assert stage(study, 0) == "confirmation"
    end_search(study)
    asked = study.follow(lambda: next_after_search(study))
    assert {ask.arm for ask in asked} == {"supcon"}
    assert len(asked) == planned_runs(study.space, ["supcon"], 2).total == 2 + 3 + 3
    assert winner(study, "supcon") is not None
    assert leader(study, "ce") is None  # though its trials were trained to the end
    assert stage(study, 0) == "done"  # nothing waits for the test images


def test_a_study_in_which_all_gave_up_is_done(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, val_counts=EVEN, budget={"trials": 99, "give_up": 2})
    asked = study.follow(SearchOrder(study), score=lambda ask: 0.1)
    assert len(asked) == 4
    assert not has_best(study)
    assert seed_runs(study) == ()
    end_search(study)
    assert not study.log.is_searched
    assert stage(study, 0) == "done"


# How many are left


@pytest.mark.parametrize(
    ("hopeless", "is_over"),
    [([], False), (["a"], False), (["a", "b"], True), (["base"], True), (["a", "b", "base"], True)],
)
def test_the_others_go_on_while_one_can_be_compared_with_the_baseline(
    tmp_path: Path, hopeless: list[str], is_over: bool
) -> None:
    losses = {"a": "supcon", "b": "sincere", "base": "ce"}
    arms = {arm: {"loss.name": loss} for arm, loss in losses.items()}
    study = WrittenStudy(tmp_path, val_counts=EVEN, arms=arms, budget={"trials": 9, "give_up": 2})
    for arm in arms:
        for number in range(2):
            study.ask(arm, number)
            if arm in hopeless:
                study.end(arm, number, "diverged")
            else:
                study.report(arm, number, 9, 0.9)
                study.end(arm, number, "completed")
    assert [arm for arm in arms if is_hopeless(study, arm)] == hopeless
    assert is_in_vain(study) == is_over


def test_an_only_arm_is_in_vain_if_it_is_hopeless(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"arms": {"ce": {"loss.name": "ce"}}} | FREE
    study = WrittenStudy(tmp_path, val_counts=EVEN, **changes)
    assert not is_in_vain(study)
    end(study, "diverged", 4)
    assert is_in_vain(study)
