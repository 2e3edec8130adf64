"""A replay over the records alone sees real curves and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from search.log.study import Study
from search.strategy.early_stopping import decide
from search.strategy.search_order import SearchOrder
from tests.benchmarks.efficiency.recorded import accuracy
from tests.benchmarks.efficiency.restricted import Restricted, restricted
from tests.benchmarks.efficiency.simulated import simulate
from tests.benchmarks.efficiency.surrogate import World
from tests.replay.planted import EPOCHS, space, truth


@pytest.fixture(scope="module")
def alone(planted: dict[str, World]) -> dict[str, Restricted]:
    return {arm: Restricted(world) for arm, world in planted.items()}


def test_each_recorded_configuration_is_drawn_once_and_its_curve_is_what_it_scores(
    alone: dict[str, Restricted],
) -> None:
    record = alone["ce"].record
    rules = space(scheduler="none", budget={"trials": 80})
    study = simulate(rules, alone, restricted(SearchOrder, alone), decide)
    trials = study.log.of("ce")
    drawn = [record.params.index(trial.ask.params) for trial in trials]
    assert sorted(record.number[drawn]) == list(range(80))
    for row, trial in zip(drawn, trials, strict=True):
        assert trial.score == pytest.approx(accuracy(record.logits[row, -1]))


def test_when_all_were_drawn_it_says_so(alone: dict[str, Restricted]) -> None:
    rules = space(scheduler="none", budget={"trials": 81})
    with pytest.raises(LookupError, match="all 80 configurations were drawn"):
        simulate(rules, alone, restricted(SearchOrder, alone), decide)


def test_the_sampler_learns_from_what_was_drawn_and_not_from_what_it_had_suggested(
    alone: dict[str, Restricted],
) -> None:
    found = list[SearchOrder]()
    order = restricted(SearchOrder, alone)
    rules = space(scheduler="none", budget={"trials": 12})

    def kept(study: Study) -> SearchOrder:
        found.append(order(study))
        return found[0]

    study = simulate(rules, alone, kept, decide)
    suggester = found[0].suggesters["ce"].inner  # type: ignore[attr-defined]
    told = [trial for trial in suggester.told() if trial.state.is_finished()]
    drawn = [trial.ask.params["optim.lr_per_256"] for trial in study.log.of("ce")][: len(told)]
    assert [trial.params["optim.lr_per_256"] for trial in told] == drawn
    assert len(told) >= 11


def test_what_a_configuration_is_worth_lies_nearer_to_the_truth_than_its_lucky_score(
    alone: dict[str, Restricted],
) -> None:
    world = alone["ce"]
    true = truth(world.x)[:, EPOCHS.index(9)]
    single = np.bincount(world.record.number) == 1
    scored = world.record.logits[world.first, -1]
    said, lucky = (np.abs(each - true)[single].mean() for each in (world.truth, scored))
    assert said < 0.7 * lucky
    params = world.record.params[world.first[3]]
    assert world.value(params) == pytest.approx(accuracy(world.truth[3]))
