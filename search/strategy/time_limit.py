"""The time that a study may take, whatever it was used for; that in which it was down is free."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from search.log.events import TIME_UP, Opened
from search.log.journal import Journal, Trial
from search.space.space import Space
from search.strategy.confirmation import ConfirmPlan

MARGIN = 1.25  # trials do not all take equally long


def active_seconds(journal: Journal) -> float:
    """How long the processes that wrote a log ran, from the opening of each to its last event."""
    total, opened, last = 0.0, 0.0, 0.0
    for event in journal.events:
        if isinstance(event, Opened):
            total += last - opened
            opened = event.time
        last = event.time
    return total + last - opened


def confirm_seconds(space: Space, journal: Journal, slots: int) -> float:
    """What all runs after the search will take, so many at once, by what the best took."""
    best = [trial for arm in space.arms for trial in journal.top(arm, space.confirm.top)]
    if not best:
        return 0.0
    picks, later = ConfirmPlan(space, journal).runs_left()
    rounds = math.ceil(picks / slots) + math.ceil(later / slots)
    # Its workers start as cold as those of the first trials did.
    opened = [event.time for event in journal.events if isinstance(event, Opened)]
    start = max(_start_seconds(trial, opened) for trial in journal.trials.values())
    return MARGIN * (start + rounds * max(map(_seconds, best)))


def _seconds(trial: Trial) -> float:
    last = trial.reports[-1]
    return last.seconds + last.evaluation_seconds


def _start_seconds(trial: Trial, opened: list[float]) -> float:
    """From when a trial could start, in the process that first got a report of it, to its start."""
    step = trial.reports[0].first_step if trial.reports else None
    if step is None:
        return 0.0
    return step - max([trial.ask.time, *(time for time in opened if time <= step)])


class Clock:
    """What is left of a study's time."""

    def __init__(self, space: Space, journal: Journal) -> None:
        """Starts now; what earlier processes took is in the log."""
        self.limit = space.budget.time
        self.before = active_seconds(journal)
        self.started = time.monotonic()

    def is_over(self, reserve: float = 0.0) -> bool:
        """Whether no more than `reserve` seconds are left."""
        if self.limit is None:
            return False
        return self.before + time.monotonic() - self.started + reserve >= self.limit


class TimeToConfirm:
    """Whether what is left of a study's time is needed to confirm what was found.

    It is asked many times a second; what that takes is reckoned anew only when the log has grown.
    """

    def __init__(
        self, space: Space, journal: Journal, clock: Clock, slots: Callable[[], int]
    ) -> None:
        """`slots`: how many trials run at once after the search."""
        self.space, self.journal, self.clock, self.slots = space, journal, clock, slots
        self.n_seen, self.reserve = 0, 0.0

    def __call__(self) -> bool:
        """Whether it is."""
        if self.clock.limit is None:
            return False  # nobody needs to know what is reserved
        if self.n_seen != len(self.journal.events):
            self.n_seen = len(self.journal.events)
            self.reserve = confirm_seconds(self.space, self.journal, self.slots())
        return self.clock.is_over(self.reserve)


def end_for_time(journal: Journal) -> None:
    """End the search trials that still ran when the time of the search was up."""
    for trial in journal.unfinished("search"):
        journal.end(trial.ask.key, "stopped", detail=TIME_UP)
