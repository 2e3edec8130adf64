"""Best scores against epochs spent, from logs written by hand."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.judge.best_by_budget import best_so_far, expected_best, expected_maxima, random_trials
from search.log.events import TIME_UP, Ask, End, Opened, Report
from search.log.journal import Journal
from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.sampler import Suggester

TREE: dict[str, Any] = {
    "name": "x", "base": {"run": {"epochs": 9}}, "budget": {"trials": 3},
    "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
    "scheduler": {"asha": {"grace": 3, "reduction": 3}},
}  # fmt: skip


def space_of(**changes: Any) -> Space:
    return parse_space(TREE | changes, "test")


@pytest.fixture
def log(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "events.jsonl")
    journal._fold(Opened(study="x", space=TREE, commit="abc", versions={}))
    return journal


def ask(log: Journal, number: int, of: int | None = None, arm: str = "ce", **params: Any) -> None:
    log._fold(Ask(arm=arm, phase="search", number=number, params=params, seed=0, of=of))


def report(log: Journal, number: int, epoch: int, score: float, arm: str = "ce") -> None:
    log._fold(
        Report(arm=arm, phase="search", number=number, epoch=epoch, views=0, seconds=0,
               metrics={"val/probe_top1": score}, decision="continue")
    )  # fmt: skip


def end(log: Journal, number: int, outcome: Any, epochs: int = 0, arm: str = "ce") -> None:
    log._fold(End(arm=arm, phase="search", number=number, outcome=outcome, epochs=epochs))


def run(log: Journal, number: int, scores: list[float], of: int | None = None) -> None:
    ask(log, number, of)
    for epoch, score in zip((3, 9), scores, strict=False):
        report(log, number, epoch, score)
    end(log, number, "completed" if len(scores) == 2 else "stopped")


def numbers(space: Space, log: Journal) -> list[int]:
    return [trial.ask.number for trial in random_trials(space, log, "ce")]


@pytest.mark.parametrize("n_scores", [1, 2, 5, 8])
def test_the_estimator_is_the_mean_over_all_subsets(n_scores: int) -> None:
    scores = np.random.default_rng(n_scores).random(n_scores)
    oracle = [
        np.mean([max(some) for some in itertools.combinations(scores, n)])
        for n in range(1, n_scores + 1)
    ]
    assert expected_maxima(scores) == pytest.approx(oracle)
    assert expected_maxima(scores)[0] == pytest.approx(scores.mean())
    assert expected_maxima(scores)[-1] == pytest.approx(scores.max())
    assert expected_maxima(np.stack([scores, scores]))[1] == pytest.approx(oracle)


def test_the_estimator_holds_for_many_scores() -> None:
    found = expected_maxima(np.linspace(0, 1, 500))
    assert (np.diff(found) >= -1e-12).all()
    assert found[0] == pytest.approx(0.5)
    assert found[-1] == pytest.approx(1)


def test_the_expectation_rises_within_its_band(log: Journal) -> None:
    for number, score in enumerate([0.5, 0.7, 0.4, 0.6, 0.7]):
        run(log, number, [score, score + 0.1] if number % 2 else [score])
    found = expected_best(space_of(), log, "ce")
    assert found is not None
    assert (found.epoch, found.n_trials) == (3, 5)
    assert found.epochs == [3, 6, 9, 12, 15]
    assert found.mean[0] == pytest.approx(0.58)
    assert found.mean[-1] == pytest.approx(0.7)
    assert (np.diff(found.mean) >= 0).all()
    bands = zip(found.low, found.mean, found.high, strict=True)
    assert all(low <= mean <= high for low, mean, high in bands)
    assert found.low[0] < found.mean[0] < found.high[0]
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_scores_are_those_of_full_length_where_nothing_was_stopped(log: Journal) -> None:
    for number in range(3):
        run(log, number, [0.9, 0.1 * number])
    found = expected_best(space_of(), log, "ce")
    assert found is not None
    assert found.epoch == 9
    assert found.mean[-1] == pytest.approx(0.2)


def test_useless_trials_score_nothing_and_dead_workers_do_not_count(log: Journal) -> None:
    run(log, 0, [0.6, 0.9])
    run(log, 1, [0.3])
    for number, outcome in enumerate(["diverged", "infeasible", "failed"], start=2):
        ask(log, number)
        end(log, number, outcome, epochs=1)
    ask(log, 5)
    report(log, 5, 3, 0.99)
    found = expected_best(space_of(), log, "ce")
    assert found is not None
    assert (found.epoch, found.n_trials) == (3, 4)
    assert found.mean[0] == pytest.approx(0.9 / 4)
    assert found.epochs[0] == (3 + 3 + 1 + 1) / 4


def cut(log: Journal, number: int, *scores: float) -> None:
    ask(log, number)
    for epoch, score in zip((3, 9), scores, strict=False):
        report(log, number, epoch, score)
    log._fold(End(arm="ce", phase="search", number=number, outcome="stopped", detail=TIME_UP))


def test_a_trial_that_was_cut_counts_if_it_came_as_far_as_the_others(log: Journal) -> None:
    for number in range(3):
        run(log, number, [0.5])
    there = expected_best(space_of(), log, "ce")
    cut(log, 3)  # before its first rung
    assert expected_best(space_of(), log, "ce") == there
    cut(log, 4, 0.9)
    found = expected_best(space_of(), log, "ce")
    assert found is not None
    assert (found.epoch, found.n_trials) == (3, 4)
    assert found.mean[0] == pytest.approx(0.6)


@pytest.mark.parametrize("scores", [[], [0.1, 0.2]])
def test_fewer_than_three_trials_say_nothing(log: Journal, scores: list[float]) -> None:
    for number, score in enumerate(scores):
        run(log, number, [score])
    assert expected_best(space_of(), log, "ce") is None


def test_tpe_draws_at_random_until_ten_trials_have_told_it_something(log: Journal) -> None:
    space = space_of(points={"ce": [{"optim.lr_per_256": 0.1}] * 2})
    for number in range(9):
        run(log, number, [0.1], of=0 if number == 3 else None)  # a repeat tells nothing
    ask(log, 9)
    end(log, 9, "failed")  # nor does a dead worker
    run(log, 10, [0.1])
    ask(log, 11)  # 9 have told so far, 2 of them given points
    run(log, 12, [0.1])
    ask(log, 13)
    assert numbers(space, log) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_those_draws_are_indeed_the_random_ones(log: Journal) -> None:
    tpe, random = space_of(), space_of(sampler="random")
    alike = []
    for number in range(14):
        params = Suggester(tpe, "ce", log).suggest(number)
        if params == Suggester(random, "ce", log).suggest(number):
            alike.append(number)
        ask(log, number, **params)
        report(log, number, 3, 0.1 * (number % 7))
        end(log, number, "failed" if number == 4 else "stopped")
    assert numbers(tpe, log) == alike == list(range(11))


def test_other_samplers_draw_all_at_random_or_nothing(log: Journal) -> None:
    for number in range(15):
        run(log, number, [0.1])
    points = {"ce": [{"optim.lr_per_256": 0.1}] * 2}
    assert numbers(space_of(points=points, sampler="random"), log) == list(range(2, 15))
    given = space_of(points=points, sampler="points")
    assert numbers(given, log) == []
    assert expected_best(given, log, "ce") is None


def test_the_best_so_far_counts_all_epochs_that_the_log_knew_of(log: Journal) -> None:
    ask(log, 0)
    ask(log, 1)
    ask(log, 0, arm="supcon")
    report(log, 0, 3, 0.2)
    report(log, 1, 3, 0.9)
    report(log, 0, 3, 0.9, arm="supcon")
    report(log, 0, 9, 0.5)
    end(log, 0, "completed")
    ask(log, 2)
    end(log, 2, "diverged", epochs=2)
    run(log, 3, [0.1, 0.4])
    report(log, 1, 9, 0.6)
    end(log, 1, "completed")
    assert best_so_far(log, "ce") == [(12, 0.5), (23, 0.5), (29, 0.6)]
    assert best_so_far(log, "supcon") == []
    assert sum(t.epochs for t in log.of("ce")) == 29
