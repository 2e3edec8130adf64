"""What Ray draws trials from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ray.tune.search import Searcher

from search.engine.unpickled import Unpickled
from search.log.events import Ask, Move, Phase, Promoted, TrialId
from search.log.study import Study
from search.space.resources import ConfigKind, Share
from supcon.config import Config

MAX_RESTARTS = 2  # of a trial whose worker process died


class TrialSource(Unpickled, Searcher):
    """Hands trials to Ray: first those that an earlier run left unfinished, then new ones."""

    def __init__(
        self,
        study: Study,
        phases: Sequence[Phase],
        next_trial: Callable[[], Move | None],
        has_room: Callable[[Sequence[Share]], bool] = lambda taken: True,
        errors: Mapping[TrialId, str] = MappingProxyType({}),
    ) -> None:
        """Trials of these phases.

        Args:
            study: the study.
            phases: what the trials are for.
            next_trial: the next new trial, a paused one that goes on, or None.
            has_room: whether another trial may start beside those that have taken these shares.
            errors: what went wrong last with a trial's process.
        """
        super().__init__()
        self.study, self.phases, self.next_trial = study, phases, next_trial
        self.has_room, self.errors = has_room, errors
        self.taken: dict[TrialId, Share] = {}
        # Those that ran out of memory wait until the others have ended.
        self.unfinished = [t.ask for t in study.log.unfinished(*phases) if t.retry is None]
        self.handed_out: dict[str, Ask] = {}
        self.deaths: Counter[TrialId] = Counter()
        self.alone: TrialId | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of Ray's next trial, None for not now, or FINISHED."""
        ask = self._next()
        if not isinstance(ask, Ask):
            return ask
        config = self.study.config_of(ask)
        if ask.key not in self.study.log.trials:
            self.study.log.append(ask)
        self.handed_out[trial_id] = ask
        share = self.taken[ask.key] = self._share(ask, config)
        return {
            "arm": ask.arm,
            "phase": ask.phase,
            "number": ask.number,
            "name": self.study.log.trials[ask.key].name,
            "config": config.model_dump_json(),
            "cpu": share.cpu,
            "gpu": share.gpu,
            "gpu_memory": self.study.shares.memory_of(config, share),
        }

    def _share(self, ask: Ask, config: Config) -> Share:
        """What the trial takes; if one like it ran out of memory in a measured share, it is larger
        than was measured.
        """
        alone = ask.key == self.alone
        if self.study.space.resources.gpu == "auto":
            retried = [t.ask for t in self.study.log.trials.values() if t.retry is not None]
            kinds = {ConfigKind.of(self.study.config_of(each)) for each in retried}
            alone = alone or ConfigKind.of(config) in kinds
        return self.study.shares.of(config, alone=alone)

    def _next(self) -> Ask | str | None:
        """Trials that run out of memory are run once more, each while no other one runs."""
        waiting = {ask.key for ask in self.unfinished}
        running = [t for t in self.study.log.unfinished(*self.phases) if t.ask.key not in waiting]
        if self.alone is not None and self.study.log.trials[self.alone].end is None:
            return self.unfinished.pop(0) if self.alone in waiting else None
        retries = [trial.ask for trial in running if trial.retry and trial.ask.key != self.alone]
        if retries:
            if any(trial.retry is None for trial in running):
                return None
            self.alone = retries[0].key
            return retries[0]
        taken = [self.taken[t.ask.key] for t in running if t.ask.key in self.taken]
        if taken and not self.has_room(taken):
            return None
        if self.unfinished:
            return self.unfinished.pop(0)
        return self._next_planned() or (None if running else Searcher.FINISHED)

    def _next_planned(self) -> Ask | None:
        found = self.next_trial()
        if isinstance(found, Promoted):
            self.study.log.append(found)
            return self.study.log.trials[found.key].ask
        return found

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Start a trial whose worker died again, from its checkpoint, but not for ever.

        Ray would do so too, but for workers that die while they take on their next trial. How
        trials end otherwise is logged by the scheduler, and the suggesters read the log.
        """
        if error:
            ask = self.handed_out[trial_id]
            self.deaths[ask.key] += 1
            if self.deaths[ask.key] > MAX_RESTARTS:
                why = self.errors.get(ask.key, "")
                detail = f"its worker process kept dying{f' ({why})' if why else ''}"
                self.study.log.end(ask.key, "failed", detail=detail)
            else:
                self.unfinished.insert(0, ask)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the log is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: every start is a fresh Tuner over the log."""
