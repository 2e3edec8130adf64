"""Trials that pause at rungs go on when they are among the best, and nothing of that is lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.log.events import Move, Promoted, Report
from search.log.journal import Journal
from search.log.study import Study
from search.space.loading import read_space
from search.strategy.confirmation import has_best
from search.strategy.early_stopping import decide
from search.strategy.promotion import next_promoted
from search.strategy.search_order import SearchOrder
from search.strategy.stage import end_for_time, end_search, open_arms, search_is_over
from search.strategy.winners import candidates
from tests.written import WrittenStudy

RUNGS = (1, 3, 9)
Score = Callable[[int, int], float]
"""Number and epoch -> score."""


def new_study(path: Path, sentinels: float = 0, **changes: Any) -> WrittenStudy:
    asha = {"grace": 1, "reduction": 3, "sentinels": sentinels, "promotion": True}
    changes = {"budget": {"total_epochs": 180}, "scheduler": {"asha": asha}} | changes
    return WrittenStudy(path, arms={"ce": {"loss.name": "ce"}}, **changes)


def train(study: WrittenStudy, move: Move, score: Score) -> None:
    """To where the trial pauses or ends."""
    study.log.append(move)
    trial = study.log.trials[move.key]
    for epoch in [rung for rung in RUNGS if rung > trial.epochs]:
        value = score(move.number, epoch)
        decision = "done" if epoch == 9 else decide(study, move.key, epoch, value)
        study.report("ce", move.number, epoch, value, decision=decision)
        if decision in ("done", "stop"):
            study.end("ce", move.number, "completed" if epoch == 9 else "stopped", epochs=epoch)
        if decision != "continue":
            return


def play(study: WrittenStudy, score: Score, most: int = 999) -> list[Move]:
    """Train one after the other what the search asks for, from the log alone each time."""
    moves: list[Move] = []
    while len(moves) < most and (move := SearchOrder(study)()) is not None:
        moves.append(move)
        train(study, move, score)
    return moves


def test_the_best_third_of_a_rung_goes_on_and_the_others_wait(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    play(study, lambda number, epoch: [0.5, 0.6, 0.7, 0.4, 0.3, 0.2][number], most=6)
    at = [trial.epochs for trial in study.log.of("ce")]
    assert at == [1, 1, 3, 1, 1, 1]  # the third is the best of three; then of six two go on
    assert [trial.is_paused for trial in study.log.of("ce")] == [True] * 6
    promoted = next_promoted(study, "ce")
    assert promoted is not None
    assert (promoted.number, promoted.why) == (1, "rung")


def test_who_waits_goes_on_once_those_after_it_are_no_better(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    moves = play(study, lambda number, epoch: 0.9 - number / 100, most=4)
    assert [(move.event, move.number) for move in moves] == [
        *[("ask", 0), ("ask", 1), ("ask", 2), ("promoted", 0)]
    ]
    assert study.log.trials["ce", "search", 0].epochs == 3


def test_a_higher_rung_comes_first(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    moves = play(study, lambda number, epoch: 0.9 - number / 100, most=13)
    promoted = [
        (m.number, study.log.trials[m.key].epochs) for m in moves if isinstance(m, Promoted)
    ]
    assert promoted[:4] == [(0, 9), (1, 3), (2, 3), (0, 9)]
    assert study.log.trials["ce", "search", 0].is_completed


def test_a_score_that_is_not_finite_is_stopped_for_good(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.ask("ce", 0)
    assert decide(study, ("ce", "search", 0), 1, math.nan) == "stop"


def test_of_equal_trials_the_earlier_one_goes_on(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    moves = play(study, lambda number, epoch: 0.5, most=4)
    assert (moves[-1].event, moves[-1].number) == ("promoted", 0)


def test_none_goes_on_once_the_budget_is_spent(tmp_path: Path) -> None:
    for total in range(9, 40):
        study = new_study(tmp_path / str(total), budget={"total_epochs": total})
        play(study, lambda number, epoch: 0.5 + number / 1000)
        assert total <= study.log.totals("ce").epochs < total + 6
        assert open_arms(study) == []
        assert has_best(study)


def test_who_waits_may_be_the_best_by_what_others_have_gained_since(tmp_path: Path) -> None:
    study = new_study(tmp_path, budget={"trials": 4})
    scores = {0: {1: 0.30, 3: 0.50}, 1: {1: 0.28}, 2: {1: 0.10}, 3: {1: 0.29}}
    moves = play(study, lambda number, epoch: scores[number][epoch])
    assert [(m.event, m.number) for m in moves][2:] == [("ask", 2), ("promoted", 0), ("ask", 3)]
    assert study.log.expected("ce") == pytest.approx({0: 0.5, 1: 0.48, 2: 0.3, 3: 0.49})
    assert [t.ask.number for t in study.log.top("ce", 9)] == [0, 3, 1, 2]
    end_search(study)
    assert [t.ask.number for t in candidates(study, "ce")] == [0, 3]  # confirm.top is 2


def test_where_time_limits_the_search_trials_pause_as_well(tmp_path: Path) -> None:
    study = new_study(tmp_path, budget={"time": 3600})
    play(study, lambda number, epoch: 0.9 - number / 100, most=4)
    assert [trial.is_paused for trial in study.log.of("ce")] == [True, True, True]
    study.ask("ce", 3)
    study.report("ce", 3, 1, 0.95)
    end_for_time(study)
    end_search(study)
    assert 3 in {trial.ask.number for trial in candidates(study, "ce")}


def test_sentinels_cost_a_share_of_what_was_spent_and_nothing_before(tmp_path: Path) -> None:
    study = new_study(tmp_path, sentinels=0.2)
    moves = play(study, lambda number, epoch: 0.9 - number / 1000)
    sentinels = [move for move in moves if isinstance(move, Promoted) and move.why == "sentinel"]
    assert len(sentinels) == math.floor(0.2 * 180 / 9) - 1  # the last is due when all is spent
    for move in sentinels:
        assert study.log.trials[move.key].is_completed
    before = study.log.events[: study.log.events.index(sentinels[0])]
    reached = {event.number: event.epoch for event in before if isinstance(event, Report)}
    assert 9 / 0.2 <= sum(reached.values()) < 9 / 0.2 + 9  # a fifth of five full trials


def test_a_restart_at_any_point_changes_no_move(tmp_path: Path) -> None:
    def score(number: int, epoch: int) -> float:
        return 0.5 + 0.3 * math.sin(7 * number) + epoch / 100

    params = {"optim.lr_per_256": {"loguniform": [0.1, 1]}, "augment.strength": {"uniform": [0, 1]}}
    changes: dict[str, Any] = {"params": params, "sentinels": 0.1}
    whole = new_study(tmp_path / "a", **changes)
    order, moves = SearchOrder(whole), list[Move]()
    while (move := order()) is not None:  # one order, which remembers
        moves.append(move)
        train(whole, move, score)
    parts = play(new_study(tmp_path / "b", **changes), score)  # a new one each time
    without = {"time"}
    assert [m.model_dump(exclude=without) for m in parts] == [
        m.model_dump(exclude=without) for m in moves
    ]
    assert {m.why for m in moves if isinstance(m, Promoted)} == {"rung", "sentinel"}


def test_trials_that_wait_take_no_worker_and_end_with_the_search(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    play(study, lambda number, epoch: 0.9 - number / 1000)
    assert study.log.unfinished() == []
    assert study.log.paused("ce")
    assert search_is_over(study)
    assert open_arms(study) == []
    end_search(study)
    assert study.log.paused("ce") == []
    assert {trial.outcome for trial in study.log.of("ce")} == {"completed", "stopped"}
    assert study.log.is_searched


def test_what_waits_counts_in_the_budget_and_is_read_back_from_the_file(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    play(study, lambda number, epoch: 0.9 - number / 1000, most=7)
    log = Journal.open(study.log.path)
    again = Study(read_space(log.latest.space, "x"), log)
    assert again.log.totals("ce") == study.log.totals("ce")
    assert again.log.totals("ce").endings == {"paused": len(study.log.of("ce"))}
    assert again.log.totals("ce").epochs == sum(trial.epochs for trial in study.log.of("ce"))
    assert [t.ask.number for t in again.log.paused("ce")] == [
        t.ask.number for t in study.log.paused("ce")
    ]


def test_a_larger_budget_goes_on_with_what_was_learned(tmp_path: Path) -> None:
    def score(number: int, epoch: int) -> float:
        return 0.5 + 0.3 * math.sin(7 * number) + epoch / 100

    study = new_study(tmp_path, budget={"total_epochs": 40})
    play(study, score)
    end_search(study)
    best = [trial.ask.number for trial in study.log.top("ce", 2)]
    study.restart(budget={"total_epochs": 80})
    assert not study.log.is_searched
    moves = play(study, score)
    assert len(moves) > 10
    assert 80 <= study.log.totals("ce").epochs < 86
    assert {trial.outcome for trial in study.log.of("ce")} == {"stopped", "completed", None}
    scores = study.log.expected("ce")
    assert all(scores[number] <= scores[study.log.top("ce", 1)[0].ask.number] for number in best)
