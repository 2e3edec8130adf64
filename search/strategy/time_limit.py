"""The time that a study may take, whatever it was used for; down or asleep, it is free."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from search.log.events import Slept, Started
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.confirmation import runs_left
from search.strategy.winners import candidates

MARGIN = 1.25  # trials do not all take equally long


@remembered
def confirm_seconds(study: Study, slots: int) -> float:
    """What all runs after the search will take, so many at once, by what the best took."""
    best = [trial for arm in study.arms for trial in candidates(study, arm)]
    if not best:
        return 0.0
    picks, later = runs_left(study)
    rounds = math.ceil(picks / slots) + math.ceil(later / slots)
    # Its workers start as cold as those of the first trials did.
    opened = [event.time for event in study.log.events if isinstance(event, Started)]
    sleeps = [event.time for event in study.log.events if isinstance(event, Slept)]
    start = max(_start_seconds(trial, opened, sleeps) for trial in study.log.trials.values())
    longest = max(_seconds(trial, study.space.rungs[-1]) for trial in best)
    return MARGIN * (start + rounds * longest)


def _seconds(trial: Trial, epochs: int) -> float:
    """What it takes to train it to the end, by how far it came."""
    last = trial.reports[-1]
    return (last.seconds + last.evaluation_seconds) * epochs / last.epoch


def _start_seconds(trial: Trial, opened: list[float], sleeps: list[float]) -> float:
    """From when a trial could start, in the process that first got a report of it, to its start.

    The start of a trial in which the machine slept tells nothing.
    """
    step = trial.reports[0].first_step if trial.reports else None
    if step is None or any(trial.ask.time <= t <= trial.reports[0].time for t in sleeps):
        return 0.0
    return step - max([trial.ask.time, *(time for time in opened if time <= step)])


class Clock:
    """What is left of a study's time."""

    def __init__(self, study: Study) -> None:
        """Starts now; what earlier processes took is in the log."""
        self.limit = study.space.budget.time
        self.before = study.log.active_seconds
        self.started = time.monotonic()

    def elapsed(self) -> float:
        """Seconds in which the study was worked on."""
        return self.before + time.monotonic() - self.started

    def is_over(self, reserve: float = 0.0) -> bool:
        """Whether no more than `reserve` seconds are left."""
        return self.limit is not None and self.elapsed() + reserve >= self.limit


def must_confirm(study: Study, clock: Clock, slots: Callable[[], int]) -> bool:
    """Whether what is left of a study's time is needed to confirm what was found.

    Args:
        study: the study.
        clock: its clock.
        slots: says how many trials run at once after the search.
    """
    return clock.limit is not None and clock.is_over(confirm_seconds(study, slots()))
