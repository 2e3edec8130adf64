"""What an arm should try next: Optuna's samplers over the arm's log. Nothing here imports ray.

Suggestion n of an arm is a function of (study seed, arm, n, the arm's events before it): the
sampler is seeded anew for each suggestion, and its history is nothing but the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search.log.study import Study
from search.strategy.optuna_form import decode, frozen, suggest_one
from supcon.seeds import derive_seed

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
}
MOST_TOLD, BEST_TOLD = 200, 25
"""Trials that a sampler is told of at most, and of these the best; the others are the latest. TPE
takes no more than 25 for good and forgets the oldest of the others; telling a thousand takes it a
tenth of a second.
"""


class Suggester:
    """Draws the params of one arm's next trial."""

    def __init__(self, study: Study, arm: str) -> None:
        self.study, self.arm = study, arm
        self.params = study.space.arm_params(arm)
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def suggest(self, number: int) -> dict[str, Any]:
        """Params of trial `number`, given all that the log says so far."""
        seed = derive_seed(self.study.space.seed, self.arm, "sampler", number)
        told = optuna.create_study(direction="maximize", sampler=self.sampler(seed))
        told.add_trials(self.told())
        trial, drawn = told.ask(), dict[str, Any]()
        for key, distribution in self.params.items():
            if distribution.is_drawn(drawn, self.params):
                drawn[key] = decode(distribution, suggest_one(trial, key, distribution))
        return drawn

    def sampler(self, seed: int) -> BaseSampler:
        """What draws one suggestion."""
        return SAMPLERS[self.study.space.sampler](seed=seed)

    def told(self) -> list[FrozenTrial]:
        """The arm's trials as Optuna is told of them; of many those that matter most."""
        expected = self.study.log.expected(self.arm)
        trials = self.study.log.of(self.arm)
        if len(trials) > MOST_TOLD:
            best = sorted(expected, key=lambda number: -expected[number])[:BEST_TOLD]
            kept = {*best, *range(len(trials) - MOST_TOLD + len(best), len(trials))}
            trials = [trial for trial in trials if trial.ask.number in kept]
        return [frozen(t, self.params, expected.get(t.ask.number)) for t in trials]
