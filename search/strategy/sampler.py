"""What an arm should try next: Optuna's samplers over the arm's log. Nothing here imports ray.

Suggestion n of an arm is a function of (study seed, arm, n, the arm's events before it): the
sampler is seeded anew for each suggestion, and its history is nothing but the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from search.log.events import Ask, End, Report
from search.log.study import Study
from search.strategy.optuna_form import decode, encode, suggest_one, told_state
from supcon.seeds import derive_seed

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
}


class Suggester:
    """Draws the params of one arm's next trial."""

    def __init__(self, study: Study, arm: str) -> None:
        self.study, self.arm = study, arm
        self.params = study.space.arm_params(arm)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.told = optuna.create_study(direction="maximize")
        self.asked: dict[int, optuna.Trial] = {}
        self.n_seen = 0

    def suggest(self, number: int) -> dict[str, Any]:
        """Params of trial `number`, given all that the log says so far."""
        self._catch_up()
        seed = derive_seed(self.study.space.seed, self.arm, "sampler", number)
        self.told.sampler = self.sampler(seed)
        return self._ask(number)

    def sampler(self, seed: int) -> BaseSampler:
        """What draws one suggestion."""
        return SAMPLERS[self.study.space.sampler](seed=seed)

    def _ask(self, number: int) -> dict[str, Any]:
        """Ask Optuna for the parameters of a trial, one after the other."""
        trial = self.asked[number] = self.told.ask()
        drawn: dict[str, Any] = {}
        for key, distribution in self.params.items():
            if distribution.is_drawn(drawn, self.params):
                drawn[key] = decode(distribution, suggest_one(trial, key, distribution))
        return drawn

    def _catch_up(self) -> None:
        """Tell Optuna the events since the last suggestion (after a restart: all of them)."""
        events = self.study.log.events
        for event in events[self.n_seen :]:
            if getattr(event, "arm", None) == self.arm and getattr(event, "phase", "") == "search":
                self._tell(event)
        self.n_seen = len(events)

    def _tell(self, event: Any) -> None:
        match event:
            case Ask() if event.number not in self.asked:
                self.told.enqueue_trial(
                    {key: encode(self.params[key], value) for key, value in event.params.items()}
                )
                self._ask(event.number)
            case Report():
                score = event.metrics[self.study.space.selection_metric]
                self.asked[event.number].report(score, event.epoch)
            case End():
                trial = self.study.log.trials[event.key]
                state = told_state(trial)
                if trial.ask.of is not None:
                    state = TrialState.FAIL  # another seed of known params is no new evidence
                value = trial.score if state == TrialState.COMPLETE else None
                self.told.tell(self.asked[event.number], value, state)
