"""What a search had found at each cost: the score without noise of what it would have confirmed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.log.events import End
from search.log.study import Study
from search.log.trial import Trial
from tests.benchmarks.efficiency.recorded import Floats
from tests.benchmarks.efficiency.surrogate import World

PICKS = 32
"""Draws of the seeds that pick the winner, of which the mean counts."""


def anytime(study: Study, arm: str, world: World, costs: Sequence[float]) -> Floats:
    """(costs,) the value of the arm's incumbent once so many full trials had been paid for.

    Before the first trial was trained to the end there is none: what a blind draw is worth.
    """
    length, picks = study.space.rungs[-1], dict[tuple[int, ...], float]()
    spent = dict[int, int]()
    found, values = np.full(len(costs), world.blind), list[tuple[float, float]]()
    done = list[Trial]()
    for event in study.log.events:
        if getattr(event, "arm", None) != arm:
            continue
        if event.event == "report":
            spent[event.number] = event.epoch
        if isinstance(event, End) and event.outcome == "completed":
            done.append(study.log.trials[event.key])
            top = sorted(done, key=lambda t: (-t.score, t.ask.number))[: study.space.confirm.top]
            key = tuple(sorted(t.ask.number for t in top))
            if key not in picks:
                picks[key] = _picked(study, top, world)
            values.append((sum(spent.values()) / length, picks[key]))
    for cost, value in values:
        found[np.array(costs) >= cost - 1e-9] = value
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
