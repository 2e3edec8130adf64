"""The order of the search's trials, and the source that Ray draws trials from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ray.tune.search import Searcher

from search.log.events import Ask, Phase, TrialId
from search.log.journal import Journal
from search.space.resources import Share, class_of, share_of
from search.space.space import Space
from supcon.config import Config

MAX_RESTARTS = 2  # of a trial whose worker process died


class TrialSource(Searcher):
    """Hands trials to Ray: first those that an earlier run left unfinished, then new ones."""

    def __init__(
        self,
        space: Space,
        journal: Journal,
        phases: Sequence[Phase],
        next_trial: Callable[[], Ask | None],
        has_room: Callable[[Sequence[Share]], bool] = lambda taken: True,
        errors: Mapping[TrialId, str] = MappingProxyType({}),
    ) -> None:
        """Trials of these phases.

        Args:
            space: the search space.
            journal: the log of the study.
            phases: what the trials are for.
            next_trial: the next new trial, or None.
            has_room: whether another trial may start beside those that have taken these shares.
            errors: what went wrong last with a trial's process.
        """
        super().__init__()
        self.space, self.journal, self.phases, self.next_trial = space, journal, phases, next_trial
        self.has_room, self.errors = has_room, errors
        self.taken: dict[TrialId, Share] = {}
        # Those that ran out of memory wait until the others have ended.
        self.unfinished = [t.ask for t in journal.unfinished(*phases) if t.retry is None]
        self.handed_out: dict[str, Ask] = {}
        self.deaths: Counter[TrialId] = Counter()
        self.alone: TrialId | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of Ray's next trial, None for not now, or FINISHED."""
        ask = self._next()
        if not isinstance(ask, Ask):
            return ask
        config = self.space.trial_config(ask.arm, ask.params, ask.seed)
        if ask.key not in self.journal.trials:
            self.journal.append(ask)
        self.handed_out[trial_id] = ask
        share = self.taken[ask.key] = self._share(ask, config)
        return {
            "arm": ask.arm,
            "phase": ask.phase,
            "number": ask.number,
            "name": self.journal.trials[ask.key].name,
            "config": config.model_dump_json(),
            "cpu": share.cpu,
            "gpu": share.gpu,
        }

    def _share(self, ask: Ask, config: Config) -> Share:
        """What the trial takes; if one like it ran out of memory in a measured share, it is larger
        than the probe said.
        """
        resources = self.space.resources
        alone = ask.key == self.alone
        if resources.gpu == "auto":
            retried = [t.ask for t in self.journal.trials.values() if t.retry is not None]
            configs = [self.space.trial_config(a.arm, a.params, a.seed) for a in retried]
            alone = alone or class_of(config) in map(class_of, configs)
        return share_of(resources, config, alone=alone)

    def _next(self) -> Ask | str | None:
        """Trials that run out of memory are run once more, each while no other one runs."""
        waiting = {ask.key for ask in self.unfinished}
        running = [t for t in self.journal.unfinished(*self.phases) if t.ask.key not in waiting]
        if self.alone is not None and self.journal.trials[self.alone].end is None:
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
        return self.next_trial() or (None if running else Searcher.FINISHED)

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
                self.journal.end(ask.key, "failed", detail=detail)
            else:
                self.unfinished.insert(0, ask)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the log is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: every start is a fresh Tuner over the log."""
