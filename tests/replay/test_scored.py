"""A search is worth what it would confirm, at each cost."""

from __future__ import annotations

import pytest

from search.strategy.early_stopping import decide
from search.strategy.search_order import SearchOrder
from tests.benchmarks.efficiency.scored import anytime
from tests.benchmarks.efficiency.simulated import simulate
from tests.benchmarks.efficiency.surrogate import World
from tests.replay.planted import space


def test_it_is_worth_a_blind_draw_before_the_first_trial_ends_and_that_trial_then(
    planted: dict[str, World],
) -> None:
    world = planted["ce"]
    whole = space(scheduler="none", budget={"trials": 3}, confirm={"top": 1})
    study = simulate(whole, planted, SearchOrder, decide)
    found = anytime(study, "ce", world, [0.5, 1, 2, 3, 50])
    first = world.value(study.log.of("ce")[0].ask.params)
    best = world.value(study.log.top("ce", 1)[0].ask.params)
    assert found == pytest.approx([world.blind, first, found[2], best, best])


def test_a_trial_that_was_stopped_costs_what_it_had_trained(planted: dict[str, World]) -> None:
    study = simulate(space(), planted, SearchOrder, decide)
    costs = [n / 9 for n in range(1, 120)]
    found = anytime(study, "ce", planted["ce"], costs)
    spent, changes = 0, []
    for trial in study.log.of("ce"):
        spent += max(trial.scores)
        changes += [spent] if trial.is_completed else []
    seen = [n for n in range(2, 120) if found[n - 1] != found[n - 2]]
    assert set(seen) <= set(changes)
    assert len(seen) > 2


def test_the_pick_is_worth_its_mean_over_seeds_and_never_its_lucky_score(
    planted: dict[str, World],
) -> None:
    study = simulate(space(scheduler="none"), planted, SearchOrder, decide)
    world, top = planted["ce"], study.log.top("ce", 3)
    values = [world.value(trial.ask.params) for trial in top]
    found = anytime(study, "ce", world, [100])[0]
    assert min(values) <= found <= max(values)
    assert found < max(trial.score for trial in top)
