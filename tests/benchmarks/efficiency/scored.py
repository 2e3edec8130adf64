"""What a search had found at each cost: the score without noise of what it would have confirmed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.log.events import Report
from search.log.history import History
from search.log.study import Study
from search.log.trial import Trial
from tests.benchmarks.efficiency.recorded import Floats
from tests.benchmarks.efficiency.surrogate import World

PICKS = 32
"""Draws of the seeds that pick the winner, of which the mean counts."""


def anytime(study: Study, arm: str, world: World, costs: Sequence[float]) -> Floats:
    """(costs,) the value of the arm's incumbent once so many full trials had been paid for.

    Before there is a candidate it is what a blind draw is worth. Where trials pause, those that
    wait are candidates too: a search would train them again on fresh seeds.

    Args:
        study: what was searched.
        arm: one of it.
        world: its truth.
        costs: in full trials of the arm, ascending.
    """
    length, spent, at = study.space.rungs[-1], 0.0, 0
    log, picks = History(), dict[tuple[int, ...], float]()
    found = np.full(len(costs), world.blind)

    def incumbent() -> float:
        top = log.top(arm, study.space.confirm.top)
        key = tuple(sorted(trial.ask.number for trial in top))
        if top and key not in picks:
            picks[key] = _picked(study, top, world)
        return picks[key] if top else world.blind

    for event in study.log.events:
        if isinstance(event, Report) and event.arm == arm:
            spent += (event.epoch - log.trials[event.key].epochs) / length
            while at < len(costs) and costs[at] < spent - 1e-9:
                found[at], at = incumbent(), at + 1
        log.add(event)
    found[at:] = incumbent()
    return found


def _picked(study: Study, top: Sequence[Trial], world: World) -> float:
    """The value of the one whose fresh seeds score best, in the mean over what these might be."""
    truth = np.array([world.value(trial.ask.params) for trial in top])
    seeds = study.space.confirm.pick_seeds
    rng = np.random.default_rng([study.space.seed, *(trial.ask.number for trial in top)])
    scores = np.stack(
        [
            world.final_scores(t.ask.params, rng, PICKS * seeds).reshape(PICKS, seeds).mean(1)
            for t in top
        ]
    )
    return float(truth[scores.argmax(0)].mean())
