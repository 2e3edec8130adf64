"""study.db: a copy of the log in Optuna's own format, to be looked at with optuna-dashboard.

The search writes it and never reads it. Each arm is a study, with its search trials, what they
drew, their reports and how they ended. A file that is missing, damaged or behind the log is made
anew.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from search.log.events import Ask, End, Report
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.optuna_form import shown, told_state
from supcon.config import SELECTION_METRIC
from supcon.parsing import one_line

UNWRITABLE = (OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError)


class Mirror:
    """A listener of a journal that keeps its study.db up to date."""

    def __init__(self, study: Study) -> None:
        """Makes the file, or makes it anew, unless it is there and says what the log says."""
        self.study = study
        self.path = study.folder.database
        self.storage: RDBStorage | None = None
        try:
            if not self._is_up_to_date():
                self._make()
        except UNWRITABLE as error:
            self._give_up(error)

    def __call__(self, event: Any) -> None:
        """Write what an event changes."""
        if self.storage is None or getattr(event, "phase", "") != "search":
            return
        try:
            self._write(self.storage, event)
        except Exception as error:  # somebody may have deleted a trial; the search goes on
            self._give_up(error)

    def _write(self, storage: RDBStorage, event: Any) -> None:
        study_id = storage.get_study_id_from_name(event.arm)
        if isinstance(event, Ask):
            storage.create_new_trial(study_id, self._frozen(self.study.log.trials[event.key]))
            return
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, event.number)
        match event:
            case Report():
                score = event.metrics[SELECTION_METRIC]
                storage.set_trial_intermediate_value(trial_id, event.epoch, score)
            case End():
                trial = self._frozen(self.study.log.trials[event.key])
                for name, value in trial.user_attrs.items():
                    storage.set_trial_user_attr(trial_id, name, value)
                storage.set_trial_state_values(trial_id, trial.state, trial.values)

    def _is_up_to_date(self) -> bool:
        if not self.path.exists():
            return False
        try:
            self.storage = self._open()
            return all(self._stored(arm) == self._logged(arm) for arm in self.study.arms)
        except (KeyError, RuntimeError, *UNWRITABLE):  # damaged, or without one of the studies
            return False

    def _make(self) -> None:
        self.storage = None
        self.path.unlink(missing_ok=True)
        self.storage = self._open()
        for arm in self.study.arms:
            study = optuna.create_study(storage=self.storage, study_name=arm, direction="maximize")
            study.add_trials([self._frozen(trial) for trial in self.study.log.of(arm)])

    def _open(self) -> RDBStorage:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return RDBStorage(f"sqlite:///{self.path.resolve()}")

    def _stored(self, arm: str) -> list[Any]:
        assert self.storage is not None
        trials = self.storage.get_all_trials(self.storage.get_study_id_from_name(arm))
        return [(t.params, t.intermediate_values, t.state) for t in trials]

    def _logged(self, arm: str) -> list[Any]:
        trials = [self._frozen(trial) for trial in self.study.log.of(arm)]
        return [(t.params, t.intermediate_values, t.state) for t in trials]

    def _frozen(self, trial: Trial) -> FrozenTrial:
        """A trial as Optuna stores it."""
        state = told_state(trial)
        drawn = self.study.space.drawn(trial.ask.arm)
        frozen = create_trial(
            state=state,
            value=trial.score if state == TrialState.COMPLETE else None,
            params=trial.ask.params,
            distributions={key: shown(drawn[key]) for key in trial.ask.params},
            intermediate_values=trial.scores,
            user_attrs={
                "name": trial.name,
                "seed": trial.ask.seed,
                "outcome": trial.outcome or "running",
                "detail": trial.end.detail if trial.end else "",
            },
        )
        frozen.datetime_start = datetime.fromtimestamp(trial.ask.time)
        if trial.end is not None:
            frozen.datetime_complete = datetime.fromtimestamp(trial.end.time)
        return frozen

    def _give_up(self, error: Exception) -> None:
        self.storage = None
        print(f"{self.path}: is no longer written ({one_line(error)})", file=sys.stderr)
