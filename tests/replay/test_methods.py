"""What the search is compared with does what its paper says."""

from __future__ import annotations

from collections import Counter

import pytest

from search.log.study import Study
from search.space.loading import load_space
from tests.benchmarks.efficiency.methods import METHODS, Method, bracket_of
from tests.benchmarks.efficiency.simulated import simulate
from tests.benchmarks.efficiency.surrogate import World
from tests.replay.planted import FILE


def search(method: Method, worlds: dict[str, World], epochs: int = 90, seed: int = 0) -> Study:
    changes = dict(method.changes) | {"seed": seed, "budget.total_epochs": epochs}
    return simulate(load_space(FILE, changes), worlds, method.order, method.decide)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_spends_the_budget_and_finds_something(
    method: Method, planted: dict[str, World]
) -> None:
    study = search(method, planted)
    for arm in study.arms:
        assert 80 <= study.log.totals(arm).epochs <= 98
        assert study.log.best(arm) is not None


def test_half_is_spent_on_the_first_rung_and_the_best_there_are_trained_to_the_end(
    planted: dict[str, World],
) -> None:
    method = next(m for m in METHODS if m.name == "first rung, then the best")
    study = search(method, planted)
    trials = study.log.of("ce")
    done = [trial for trial in trials if trial.is_completed]
    assert len(trials) == 45  # and 45 epochs are left for whole trials, eight of which are paid
    assert len(done) == 6
    last = min(trial.scores[1] for trial in done)
    assert all(trial.scores[1] <= last for trial in trials if not trial.is_completed)


def test_a_turn_of_brackets_has_as_many_trials_as_hyperband_says() -> None:
    # Li et al. 2018, table 1 (R = 81, eta = 3): 81, 27 (34 by the formula), 9, 6, 5
    turn = Counter(bracket_of(number, 5, 3) for number in range(81 + 34 + 15 + 8 + 5))
    assert turn == {0: 81, 1: 34, 2: 15, 3: 8, 4: 5}
