"""A line of text for every event that a person watching a search cares about."""

from __future__ import annotations

import time
from typing import Any

from search.log.events import Ask, End, Examined, Promoted, Report, Retry, Slept, Tested, Unsealed
from search.log.study import Study
from search.log.wording import show_clock, show_params
from search.strategy.in_vain import describe_giving_up
from search.strategy.winners import leader
from supcon.collapse import describe_collapse
from supcon.config import METRICS

EXAMINED = ("ece", "nll", "worst_class", "corrupted_top1")
"""Of the measures of an examined run, those that are told."""
GOES_ON = {
    "rung": "among the best of its rung",
    "sentinel": "to the end, to tell whether the rungs can be trusted",
    "end": "to the end, as the best that waited",
}


class EventLines:
    """Prints events as they are logged."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.started = time.monotonic()
        self.gave_up: set[str] = set()

    def __call__(self, event: Any) -> None:
        """A listener for `Journal.listeners`."""
        match event:
            case Ask():
                self._say(event.key, "start", show_params(event.changes))
            case Report() if event.decision == "continue":
                self._say(event.key, "rung", self._score(event))
            case Report() if event.decision == "pause":
                self._say(event.key, "pauses", self._score(event))
            case Promoted():
                self._say(event.key, "goes on", GOES_ON[event.why])
            case Retry():
                self._say(event.key, "retry", f"alone, after: {event.detail}")
            case End():
                self._say(event.key, event.outcome, self._ending(event))
                self._say_if_given_up(event.arm)
            case Slept() if event.seconds > 0:
                slept = show_clock(event.seconds)
                print(f"          the machine slept for {slept}, which is not counted", flush=True)
            case Unsealed():
                print(f"          test images opened for {event.arm} {event.phase}", flush=True)
            case Tested():
                scores = "  ".join(f"{name} {value:.2%}" for name, value in event.metrics.items())
                self._say(event.key, "tested", scores)
            case Examined():
                found = event.values.get("probe", {})
                said = [f"{name} {found[name][0]:.3f}" for name in EXAMINED if name in found]
                self._say(event.key, "examined", "  ".join(said))

    def _say(self, key: Any, what: str, text: str) -> None:
        self._line(self.study.log.trials[key].name, what, text)

    def _line(self, name: str, what: str, text: str) -> None:
        clock = show_clock(time.monotonic() - self.started)
        print(f"{clock}  {name:18s} {what:10s} {text}", flush=True)

    def _say_if_given_up(self, arm: str) -> None:
        """Once, when an arm starts no more trials since nothing would come of them."""
        if arm not in self.gave_up and (why := describe_giving_up(self.study, arm)):
            self.gave_up.add(arm)
            self._line(arm, "gave up", why)

    def _score(self, report: Report) -> str:
        epochs = self.study.length_of(self.study.log.trials[report.key].ask)
        parts = [f"epoch {report.epoch:>3d}/{epochs}  probe {report.metrics[METRICS['top1']]:.2%}"]
        if (balanced := report.metrics.get(METRICS["balanced"])) is not None:
            parts.append(f"balanced {balanced:.2%}")
        return "  ".join(filter(None, [*parts, describe_collapse(report.metrics)]))

    def _ending(self, end: End) -> str:
        trial = self.study.log.trials[end.key]
        parts = [self._score(trial.last)] if trial.last else []
        if end.detail:
            parts.append(end.detail)
        if end.phase == "search":
            parts.append(self._standing(end.arm))
        return "   ".join(parts)

    def _standing(self, arm: str) -> str:
        best = leader(self.study, arm)
        lead = "no full-length trial yet"
        if best is not None:
            early = "" if best.is_completed else f" after {best.epochs} epochs"
            lead = f"best {best.score:.2%}{early} ({best.name})"
        total = self.study.space.budget.total_epochs
        spent = self.study.log.totals(arm).epochs
        return f"| {arm}: {lead}, {spent}{f'/{total}' if total else ''} epochs"
