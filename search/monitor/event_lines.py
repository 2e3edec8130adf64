"""A line of text for every event that a person watching a search cares about."""

from __future__ import annotations

import time
from typing import Any

from search.log.events import Ask, End, Report, Retry, Slept, Tested, Unsealed
from search.log.study import Study
from search.log.wording import show_clock, show_params
from supcon.config import SELECTION_METRIC


class EventLines:
    """Prints events as they are logged."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.started = time.monotonic()

    def __call__(self, event: Any) -> None:
        """A listener for `Journal.listeners`."""
        match event:
            case Ask():
                self._say(event.key, "start", show_params(event.changes))
            case Report() if event.decision == "continue":
                self._say(event.key, "rung", self._score(event))
            case Retry():
                self._say(event.key, "retry", f"alone, after: {event.detail}")
            case End():
                self._say(event.key, event.outcome, self._ending(event))
            case Slept() if event.seconds > 0:
                slept = show_clock(event.seconds)
                print(f"          the machine slept for {slept}, which is not counted", flush=True)
            case Unsealed():
                print(f"          test images opened for {event.arm} {event.phase}", flush=True)
            case Tested():
                scores = "  ".join(f"{name} {value:.2%}" for name, value in event.metrics.items())
                self._say(event.key, "tested", scores)

    def _say(self, key: Any, what: str, text: str) -> None:
        clock = show_clock(time.monotonic() - self.started)
        print(f"{clock}  {self.study.log.trials[key].name:18s} {what:10s} {text}", flush=True)

    def _score(self, report: Report) -> str:
        epochs = self.study.length_of(self.study.log.trials[report.key].ask)
        return f"epoch {report.epoch:>3d}/{epochs}  probe {report.metrics[SELECTION_METRIC]:.2%}"

    def _ending(self, end: End) -> str:
        trial = self.study.log.trials[end.key]
        parts = [self._score(trial.last)] if trial.last else []
        if end.detail:
            parts.append(end.detail)
        if end.phase == "search":
            parts.append(self._standing(end.arm))
        return "   ".join(parts)

    def _standing(self, arm: str) -> str:
        best = self.study.log.best(arm)
        lead = f"best {best.score:.2%} ({best.name})" if best else "no full-length trial yet"
        total = self.study.space.budget.total_epochs
        spent = self.study.log.totals(arm).epochs
        return f"| {arm}: {lead}, {spent}{f'/{total}' if total else ''} epochs"
