"""What an arm should try next: Optuna's samplers over the arm's log. Nothing here imports ray.

Suggestion n of an arm is a function of (study seed, arm, n, the arm's events before it): the
sampler is seeded anew for each suggestion, and its history is nothing but the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from search.log.events import Ask, End, Report
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.optuna_form import decode, encode, frozen, suggest_one, told_state
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
        self.paused = set[int]()
        """Told as pruned."""
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
        new = [
            event
            for event in events[self.n_seen :]
            if getattr(event, "arm", None) == self.arm and getattr(event, "phase", "") == "search"
        ]
        self.n_seen = len(events)
        if self._has_gone_on(new):
            self._tell_anew()
        else:
            for event in new:
                self._tell(event)

    def _has_gone_on(self, new: Iterable[Any]) -> bool:
        """Whether something became of a trial after it was told as paused."""
        paused = set(self.paused)
        for event in new:
            if isinstance(event, Report | End) and event.number in paused:
                return True
            if isinstance(event, Report) and event.decision == "pause":
                paused.add(event.number)
        return False

    def _tell_anew(self) -> None:
        """What Optuna knows of a trial that has ended cannot be changed; a paused one, which it
        takes for pruned, has gone on.
        """
        self.told = optuna.create_study(direction="maximize")
        self.asked, self.paused = {}, set()
        for trial in self.study.log.of(self.arm):
            has_paused = trial.is_paused or trial.promoted is not None
            if trial.end is not None or has_paused:
                self.told.add_trial(frozen(trial, self.params, self._state(trial)))
                if trial.end is None:
                    self.paused.add(trial.ask.number)
            else:
                self._ask_for(trial.ask)
                for report in trial.reports:
                    self._tell(report)

    def _ask_for(self, ask: Ask) -> None:
        self.told.enqueue_trial(
            {key: encode(self.params[key], value) for key, value in ask.params.items()}
        )
        self._ask(ask.number)

    def _tell(self, event: Any) -> None:
        match event:
            case Ask() if event.number not in self.asked:
                self._ask_for(event)
            case Report():
                score = event.metrics[self.study.space.selection_metric]
                self.asked[event.number].report(score, event.epoch)
                if event.decision == "pause":
                    self.paused.add(event.number)
                    self.told.tell(self.asked[event.number], state=TrialState.PRUNED)
            case End():
                trial = self.study.log.trials[event.key]
                state = self._state(trial)
                value = trial.score if state == TrialState.COMPLETE else None
                self.told.tell(self.asked[event.number], value, state)

    @staticmethod
    def _state(trial: Trial) -> TrialState:
        """Of a trial that has ended or paused; another seed of known params is no new evidence."""
        if trial.end is None:
            return TrialState.PRUNED
        return TrialState.FAIL if trial.ask.of is not None else told_state(trial)
