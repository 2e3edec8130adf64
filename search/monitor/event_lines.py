"""A line of text for every event that a person watching a search cares about."""

from __future__ import annotations

import time
from typing import Any

from search.log.events import Ask, End, Report, Retry, Scored, Unsealed
from search.log.journal import Journal
from search.log.wording import show_clock, show_params
from search.space.space import Space
from supcon.config import SELECTION_METRIC


class Progress:
    """Prints events of a journal as they are appended."""

    def __init__(self, space: Space, journal: Journal) -> None:
        self.space, self.journal = space, journal
        self.started = time.monotonic()

    def __call__(self, event: Any) -> None:
        """A listener for `Journal.listeners`."""
        match event:
            case Ask():
                self._say(event.key, "start", show_params(event.params))
            case Report() if event.decision == "continue":
                self._say(event.key, "rung", self._score(event))
            case Retry():
                self._say(event.key, "retry", f"alone, after: {event.detail}")
            case End():
                self._say(event.key, event.outcome, self._ending(event))
            case Unsealed():
                print(f"          test images opened for {event.arm} {event.phase}", flush=True)
            case Scored():
                scores = "  ".join(f"{name} {value:.2%}" for name, value in event.metrics.items())
                self._say(event.key, "tested", scores)

    def _say(self, key: Any, what: str, text: str) -> None:
        clock = show_clock(time.monotonic() - self.started)
        print(f"{clock}  {self.journal.trials[key].name:18s} {what:10s} {text}", flush=True)

    def _score(self, report: Report) -> str:
        params = self.journal.trials[report.key].ask.params
        epochs = params.get("run.epochs", self.space.config.run.epochs)
        return f"epoch {report.epoch:>3d}/{epochs}  probe {report.metrics[SELECTION_METRIC]:.2%}"

    def _ending(self, end: End) -> str:
        trial = self.journal.trials[end.key]
        parts = [self._score(trial.reports[-1])] if trial.reports else []
        if end.detail:
            parts.append(end.detail)
        if end.phase == "search":
            parts.append(self._standing(end.arm))
        return "   ".join(parts)

    def _standing(self, arm: str) -> str:
        best = self.journal.best(arm)
        lead = f"best {best.score:.2%} ({best.name})" if best else "no full-length trial yet"
        total = self.space.budget.total_epochs
        spent = self.journal.epochs_spent(arm)
        return f"| {arm}: {lead}, {spent}{f'/{total}' if total else ''} epochs"
