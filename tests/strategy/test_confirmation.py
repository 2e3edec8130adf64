"""What is trained after the search: how much of it, in which order, and what is tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from search.log.events import AFTER_SEARCH, Ask, Outcome, Phase, Searched
from search.strategy.confirmation import (
    confirmation_is_over,
    next_after_search,
    planned_runs,
    runs_left,
)
from search.strategy.winners import final_runs, leader, winner
from tests.written import WrittenStudy

RULES: dict[str, Any] = {
    "budget": {"trials": 9},
    "scheduler": "none",
    "confirm": {"top": 2, "pick_seeds": 2, "seeds": 3},
}


TRAINED = [phase for phase in AFTER_SEARCH if phase != "frozen"]  # of a study from scratch


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    """Its search is over; trials 1 and 2 of each arm were the best."""
    study = WrittenStudy(tmp_path, **RULES)
    for arm in study.arms:
        for number, score in enumerate((0.7, 0.9, 0.8, 0.6)):
            study.trial(arm, number, score)
    study.add(Searched)
    return study


def confirm(
    study: WrittenStudy,
    score: Callable[[Ask], float] = lambda ask: 0.5,
    outcome: Callable[[Ask], Outcome] = lambda ask: "completed",
) -> list[Ask]:
    asked = study.follow(partial(next_after_search, study), score, outcome)
    assert confirmation_is_over(study)
    return asked


def rows(asked: list[Ask]) -> Counter[tuple[str, Phase, int | None]]:
    return Counter((ask.arm, ask.phase, ask.of) for ask in asked)


def test_every_row_gets_its_seeds_and_no_seed_is_used_twice(study: WrittenStudy) -> None:
    assert rows(confirm(study)) == {
        ("supcon", "pick", 1): 2, ("supcon", "pick", 2): 2, ("ce", "pick", 1): 2,
        ("ce", "pick", 2): 2, ("supcon", "confirm", 1): 3, ("ce", "confirm", 1): 3,
        ("supcon", "published", None): 3, ("ce", "published", None): 3, ("ce", "one_view", 1): 3,
    }  # fmt: skip
    seeds = [t.ask.seed for t in study.log.trials.values() if t.ask.phase != "search"]
    assert len(set(seeds)) == len(seeds)
    planned = planned_runs(study.space, study.arms, 4)
    assert (planned.pick, planned.confirm, planned.reference) == (8, 6, 9)


def test_winners_wait_for_their_pick_and_references_need_not(study: WrittenStudy) -> None:
    running = []
    while (ask := next_after_search(study)) is not None:
        study.log.append(ask)
        running.append(ask)
    assert [ask.phase for ask in running] == 8 * ["pick"] + 6 * ["published"]
    assert winner(study, "ce") is None
    assert leader(study, "ce") == study.log.best("ce")
    assert runs_left(study) == (0, 9)
    assert not confirmation_is_over(study)
    for ask in running:
        study.train(ask)
    following = next_after_search(study)
    assert following is not None
    assert following.phase == "confirm"


@pytest.mark.parametrize("phase", TRAINED)
def test_a_run_that_fails_is_not_asked_for_again(study: WrittenStudy, phase: Phase) -> None:
    asked = confirm(study, outcome=lambda ask: "failed" if ask.phase == phase else "completed")
    assert len(asked) == planned_runs(study.space, study.arms, 4).total
    assert all(winner(study, arm) for arm in study.arms)


@pytest.mark.parametrize("phase", TRAINED)
@pytest.mark.parametrize(
    ("outcome", "is_replaced"), [("failed", True), ("diverged", False), ("infeasible", False)]
)
def test_runs_that_failed_before_a_restart_give_way_to_other_seeds(
    study: WrittenStudy, phase: Phase, outcome: Outcome, is_replaced: bool
) -> None:
    asked = confirm(study, outcome=lambda ask: outcome if ask.phase == phase else "completed")
    lost = [ask for ask in asked if ask.phase == phase]
    study.restart()
    assert confirmation_is_over(study) is not is_replaced
    again = confirm(study)
    assert rows(again) == (rows(lost) if is_replaced else Counter())
    assert not {ask.seed for ask in lost} & {ask.seed for ask in again}
    assert runs_left(study) == (0, 0)
    for row in final_runs(study):
        assert len(row.completed(study)) == (0 if row.phase == phase and not is_replaced else 3)


@pytest.mark.parametrize("phase", ["pick", "confirm"])
def test_nothing_is_tried_again_that_a_test_score_could_decide(
    study: WrittenStudy, phase: Phase
) -> None:
    first = ("ce", phase, 0)
    confirm(study, outcome=lambda ask: "failed" if ask.key == first else "completed")
    before = winner(study, "ce")
    study.test("ce", [1, 2], 0)
    study.restart()
    assert confirmation_is_over(study)
    assert winner(study, "ce") == before


def test_a_single_candidate_is_not_picked(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, **RULES)
    study.trial("ce", 0, 0.7)
    study.add(Searched)
    confirm(study)
    assert study.log.of("ce", "pick") == ()
    assert len(study.log.of("ce", "confirm")) == 3


def test_without_a_result_nothing_is_confirmed(tmp_path: Path) -> None:
    assert next_after_search(WrittenStudy(tmp_path, **RULES)) is None


def test_a_study_that_goes_on_confirms_its_new_winner_alone(study: WrittenStudy) -> None:
    confirm(study, lambda ask: 0.6 if (ask.phase, ask.of) == ("pick", 1) else 0.5)
    study.trial("ce", 4, 0.95)
    asked = confirm(study, lambda ask: 0.9 if (ask.phase, ask.of) == ("pick", 4) else 0.5)
    assert rows(asked) == {
        ("ce", "pick", 4): 2, ("ce", "confirm", 4): 3, ("ce", "one_view", 4): 3,
    }  # fmt: skip
    assert [row.of for row in final_runs(study)] == [1, 4, None, None, 4]


@pytest.mark.parametrize(
    ("changes", "candidates", "expected"),
    [
        ({}, 9, (8, 6, 9)),
        ({}, 1, (0, 6, 9)),  # nothing to pick from
        ({"confirm": {"top": 1, "seeds": 3}}, 9, (0, 6, 9)),
        ({"confirm": {"top": 2, "pick_seeds": 2, "seeds": 3, "references": False}}, 9, (8, 6, 0)),
        (
            {"arms": {"supcon": {"loss.name": "supcon"}}},
            9,
            (4, 3, 3),
        ),  # one view is of cross entropy
    ],
)
def test_so_many_runs_are_planned(
    tmp_path: Path, changes: dict[str, Any], candidates: int, expected: tuple[int, int, int]
) -> None:
    study = WrittenStudy(tmp_path, **RULES | changes)
    planned = planned_runs(study.space, study.arms, candidates)
    assert (planned.pick, planned.confirm, planned.reference) == expected
