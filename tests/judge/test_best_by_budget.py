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
from search.log.events import TIME_UP, Outcome
from search.log.study import Study
from search.space.loading import parse_space
from search.strategy.sampler import Suggester
from tests.written import WrittenStudy

POINTS = {"ce": [{"optim.lr_per_256": 0.1}] * 2}


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(
        tmp_path,
        params={"optim.lr_per_256": {"loguniform": [0.01, 1]}},
        budget={"trials": 3},
        scheduler={"asha": {"grace": 3, "reduction": 3, "promotion": False}},
    )


def under(study: WrittenStudy, **changes: Any) -> Study:
    """The same log under a space with some changes."""
    return Study(parse_space(study.tree | changes, "test"), study.log)


def run(study: WrittenStudy, number: int, scores: list[float], of: int | None = None) -> None:
    study.ask("ce", number, of=of)
    for epoch, score in zip((3, 9), scores, strict=False):
        study.report("ce", number, epoch, score)
    study.end("ce", number, "completed" if len(scores) == 2 else "stopped")


def numbers(study: Study) -> list[int]:
    return [trial.ask.number for trial in random_trials(study, "ce")]


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


def test_the_expectation_rises_within_its_band(study: WrittenStudy) -> None:
    for number, score in enumerate([0.5, 0.7, 0.4, 0.6, 0.7]):
        run(study, number, [score, score + 0.1] if number % 2 else [score])
    found = expected_best(study, "ce")
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


def test_scores_are_those_of_full_length_where_nothing_was_stopped(study: WrittenStudy) -> None:
    for number in range(3):
        run(study, number, [0.9, 0.1 * number])
    found = expected_best(study, "ce")
    assert found is not None
    assert found.epoch == 9
    assert found.mean[-1] == pytest.approx(0.2)


def test_useless_trials_score_nothing_and_dead_workers_do_not_count(study: WrittenStudy) -> None:
    run(study, 0, [0.6, 0.9])
    run(study, 1, [0.3])
    useless: list[Outcome] = ["diverged", "infeasible", "failed"]
    for number, outcome in enumerate(useless, start=2):
        study.ask("ce", number)
        study.end("ce", number, outcome, epochs=1)
    study.ask("ce", 5)
    study.report("ce", 5, 3, 0.99)
    found = expected_best(study, "ce")
    assert found is not None
    assert (found.epoch, found.n_trials) == (3, 4)
    assert found.mean[0] == pytest.approx(0.9 / 4)
    assert found.epochs[0] == (3 + 3 + 1 + 1) / 4


def cut(study: WrittenStudy, number: int, *scores: float) -> None:
    study.ask("ce", number)
    for epoch, score in zip((3, 9), scores, strict=False):
        study.report("ce", number, epoch, score)
    study.end("ce", number, "stopped", detail=TIME_UP)


def test_a_trial_that_was_cut_counts_if_it_came_as_far_as_the_others(study: WrittenStudy) -> None:
    for number in range(3):
        run(study, number, [0.5])
    there = expected_best(study, "ce")
    cut(study, 3)  # before its first rung
    assert expected_best(study, "ce") == there
    cut(study, 4, 0.9)
    found = expected_best(study, "ce")
    assert found is not None
    assert (found.epoch, found.n_trials) == (3, 4)
    assert found.mean[0] == pytest.approx(0.6)


@pytest.mark.parametrize("scores", [[], [0.1, 0.2]])
def test_fewer_than_three_trials_say_nothing(study: WrittenStudy, scores: list[float]) -> None:
    for number, score in enumerate(scores):
        run(study, number, [score])
    assert expected_best(study, "ce") is None


def test_tpe_draws_at_random_until_ten_trials_have_told_it_something(study: WrittenStudy) -> None:
    for number in range(9):
        run(study, number, [0.1], of=0 if number == 3 else None)  # a repeat tells nothing
    study.ask("ce", 9)
    study.end("ce", 9, "failed")  # nor does a dead worker
    run(study, 10, [0.1])
    study.ask("ce", 11)  # 9 have told so far, 2 of them given points
    run(study, 12, [0.1])
    study.ask("ce", 13)
    assert numbers(under(study, points=POINTS)) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_those_draws_are_indeed_the_random_ones(study: WrittenStudy) -> None:
    random = under(study, sampler="random")
    alike = []
    for number in range(14):
        params = Suggester(study, "ce").suggest(number)
        if params == Suggester(random, "ce").suggest(number):
            alike.append(number)
        study.ask("ce", number, params=params)
        study.report("ce", number, 3, 0.1 * (number % 7))
        study.end("ce", number, "failed" if number == 4 else "stopped")
    assert numbers(study) == alike == list(range(11))


def test_other_samplers_draw_all_at_random_or_nothing(study: WrittenStudy) -> None:
    for number in range(15):
        run(study, number, [0.1])
    assert numbers(under(study, points=POINTS, sampler="random")) == list(range(2, 15))
    given = under(study, points=POINTS, sampler="points")
    assert numbers(given) == []
    assert expected_best(given, "ce") is None


def test_the_best_so_far_counts_all_epochs_that_the_log_knew_of(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.ask("ce", 1)
    study.ask("supcon", 0)
    study.report("ce", 0, 3, 0.2)
    study.report("ce", 1, 3, 0.9)
    study.report("supcon", 0, 3, 0.9)
    study.report("ce", 0, 9, 0.5)
    study.end("ce", 0, "completed")
    study.ask("ce", 2)
    study.end("ce", 2, "diverged", epochs=2)
    run(study, 3, [0.1, 0.4])
    study.report("ce", 1, 9, 0.6)
    study.end("ce", 1, "completed")
    assert best_so_far(study, "ce") == [(12, 0.5), (23, 0.5), (29, 0.6)]
    assert best_so_far(study, "supcon") == []
    assert sum(t.epochs for t in study.log.of("ce")) == 29
