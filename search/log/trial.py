"""A trial as the log tells it, and what some trials have come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from search.log.events import TIME_UP, Ask, End, Examined, Outcome, Reason, Report, Retry, Tested
from supcon.collapse import describe_collapse
from supcon.config import TOP1


@dataclass
class Trial:
    """A trial as the log tells it."""

    ask: Ask
    reports: list[Report] = field(default_factory=list)
    retry: Retry | None = None
    end: End | None = None
    is_paused: bool = False
    """Whether it waits at a rung, and takes no worker."""
    promoted: Reason | None = None
    """Why it went on last after a pause."""
    tested: Tested | None = None
    examined: Examined | None = None
    metric: str = TOP1
    """Name of what selects in its study."""

    @property
    def name(self) -> str:
        """For people and folders: supcon-12, or supcon-confirm-1."""
        middle = "" if self.ask.phase == "search" else f"{self.ask.phase}-"
        return f"{self.ask.arm}-{middle}{self.ask.number}"

    @property
    def last(self) -> Report | None:
        """Its last report."""
        return self.reports[-1] if self.reports else None

    @property
    def outcome(self) -> Outcome | None:
        """None while it runs."""
        return self.end.outcome if self.end else None

    @property
    def is_completed(self) -> bool:
        """Whether it was trained to the end."""
        return self.outcome == "completed"

    @property
    def is_cut(self) -> bool:
        """Whether it was stopped by the end of the study's time, and not for its scores."""
        return self.end is not None and (self.end.outcome, self.end.detail) == ("stopped", TIME_UP)

    @property
    def ending(self) -> str:
        """How it ended, for people: its outcome, `cut`, `paused`, or `unfinished`."""
        if self.is_paused:
            return "paused"
        return "cut" if self.is_cut else self.outcome or "unfinished"

    @property
    def epochs(self) -> int:
        """Epochs trained, as far as known; a trial that has ended has cost at least one."""
        reported = self.last.epoch if self.last else 0
        return max(reported, self.end.epochs, 1) if self.end else reported

    @property
    def scores(self) -> dict[int, float]:
        """Epoch -> selection metric of the report there."""
        return {report.epoch: report.metrics[self.metric] for report in self.reports}

    @property
    def score(self) -> float:
        """The selection metric of the last report; nan before the first."""
        return self.last.metrics[self.metric] if self.last else float("nan")

    @property
    def collapse(self) -> str:
        """What has collapsed, by the last report, in a few words; empty: nothing, or not known."""
        return describe_collapse(self.last.metrics) if self.last else ""

    @property
    def views_per_second(self) -> float | None:
        """Between the last two reports; of all its training if there is one."""
        if not self.reports:
            return None
        views, seconds = self.reports[-1].views, self.reports[-1].seconds
        if len(self.reports) > 1:
            views, seconds = views - self.reports[-2].views, seconds - self.reports[-2].seconds
        return views / seconds if seconds > 0 else None


@dataclass(frozen=True)
class Totals:
    """What some trials have come to."""

    trials: int
    endings: dict[str, int]
    """How many ended in which way, `unfinished` among them; see `Trial.ending`."""
    epochs: int
    """Trained, as far as known: what a budget counts."""
    reported_epochs: int
    views: int
    """As reported."""
    seconds: float
    """Of training, as reported."""
    checkpoint_seconds: float
    """Of waiting for checkpoints, by the processes that trained them last."""


NOTHING = Totals(
    trials=0, endings={}, epochs=0, reported_epochs=0, views=0, seconds=0.0, checkpoint_seconds=0.0
)


def totals(trials: Iterable[Trial], before: Totals = NOTHING) -> Totals:
    """What trials have come to, together with others."""
    trials = list(trials)
    last = [trial.reports[-1] for trial in trials if trial.reports]
    return Totals(
        trials=before.trials + len(trials),
        endings=dict(Counter(before.endings) + Counter(trial.ending for trial in trials)),
        epochs=before.epochs + sum(trial.epochs for trial in trials),
        reported_epochs=before.reported_epochs + sum(report.epoch for report in last),
        views=before.views + sum(report.views for report in last),
        seconds=before.seconds + sum(report.seconds for report in last),
        checkpoint_seconds=before.checkpoint_seconds
        + sum(report.checkpoint_seconds for report in last),
    )
