"""study.db: a copy of the log in Optuna's own format, to be looked at with optuna-dashboard.

The search writes it and never reads it. Each arm is a study, with its search trials, what they
drew, their reports and how they ended. A copy that is missing or locked catches up; one that is
damaged, or says something else than the log, is made anew.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.log.events import Ask
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.optuna_form import shown, told_state
from supcon.parsing import one_line

LOCK_SECONDS = 0.5  # that an event waits for somebody else's lock
RETRY_SECONDS = 10.0  # from one try to catch up to the next
BESIDE = ("-journal", "-wal", "-shm")  # SQLite would apply them to a new file, too


class Mirror:
    """A listener of a journal that keeps its study.db up to date."""

    def __init__(self, study: Study) -> None:
        """Makes the file, or makes it anew, unless it can be brought up to date."""
        self.study = study
        self.path = study.folder.database
        self.storage: RDBStorage | None = None
        self.tried: float | None = None
        """When it was last tried to catch up, by a monotonic clock; None: nothing is missing."""
        self._catch_up()

    def __call__(self, event: Any) -> None:
        """Write what an event changes; nothing that goes wrong ends the search."""
        if self.tried is not None:
            if time.monotonic() - self.tried > RETRY_SECONDS:
                self._catch_up()
        elif getattr(event, "phase", "") == "search":
            try:
                self._write(event)
            except Exception as error:  # locked, damaged, or somebody has deleted a trial
                self._catch_up(error)

    def _write(self, event: Any) -> None:
        trial = self.study.log.trials[event.key]
        if isinstance(event, Ask):
            assert self.storage is not None
            study_id = self.storage.get_study_id_from_name(event.arm)
            self.storage.create_new_trial(study_id, self._frozen(trial))
        else:
            self._update(trial)

    def _catch_up(self, error: Exception | None = None) -> None:
        """Write all that is missing; what cannot be written into is set aside, and made anew.

        Args:
            error: what went wrong before.
        """
        try:
            if error is None or not is_locked(error):
                self._write_all_or_anew()
                error = None
        except Exception as another:
            error = another
        if error is not None and self.tried is None:
            print(f"{self.path}: is behind the search ({_cause(error)})", file=sys.stderr)
        elif error is None and self.tried is not None:
            print(f"{self.path}: is up to date again", file=sys.stderr)
        self.tried = None if error is None else time.monotonic()

    def _write_all_or_anew(self) -> None:
        try:
            self._write_all()
        except Exception as error:
            if is_locked(error):
                raise
            aside = self._set_aside()
            self._write_all()
            where = f"; what it was is {aside.name}" if aside else ""
            print(f"{self.path}: was made anew ({_cause(error)}{where})", file=sys.stderr)

    def _write_all(self) -> None:
        self.storage = self.storage or self._open()
        for arm in self.study.arms:
            copy = optuna.create_study(
                storage=self.storage, study_name=arm, direction="maximize", load_if_exists=True
            )
            trials = self.study.log.of(arm)
            n_stored = len(copy.get_trials(deepcopy=False))
            for trial in trials[:n_stored]:
                self._update(trial)
            copy.add_trials([self._frozen(trial) for trial in trials[n_stored:]])
            if self._stored(arm) != self._logged(arm):
                raise ValueError("it did not say what the log says")

    def _update(self, trial: Trial) -> None:
        """What a trial that is there lacks."""
        assert self.storage is not None
        study_id = self.storage.get_study_id_from_name(trial.ask.arm)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.ask.number)
        stored, wanted = self.storage.get_trial(trial_id), self._frozen(trial)
        if stored.state.is_finished():
            return
        for epoch, score in wanted.intermediate_values.items():
            if epoch not in stored.intermediate_values:
                self.storage.set_trial_intermediate_value(trial_id, epoch, score)
        if wanted.state.is_finished():
            for name, value in wanted.user_attrs.items():
                self.storage.set_trial_user_attr(trial_id, name, value)
            self.storage.set_trial_state_values(trial_id, wanted.state, wanted.values)

    def _set_aside(self) -> Path | None:
        """Out of the way, for whoever wants to look at it; None: there was nothing."""
        if self.storage is not None:
            self.storage.engine.dispose()
        self.storage = None
        for end in BESIDE:
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        if not self.path.exists():
            return None
        return self.path.replace(self.path.with_name(f"{self.path.name}.damaged"))

    def _open(self) -> RDBStorage:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return RDBStorage(
            f"sqlite:///{self.path.resolve()}",
            engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}},
        )

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


def is_locked(error: BaseException) -> bool:
    """Whether somebody else holds a lock, which goes by itself."""
    return "database is locked" in _cause(error)


def _cause(error: BaseException) -> str:
    """What SQLite said, without what Optuna and SQLAlchemy wrap it in."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)
