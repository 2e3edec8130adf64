"""What an arm of a search may still spend: trials and epochs. Time: time_limit.py."""

from __future__ import annotations

from search.log.journal import Journal
from search.space.space import Space

GIVE_UP = 3  # failed trials in a row after which an arm starts no more


def may_start(space: Space, journal: Journal, arm: str) -> bool:
    """Whether an arm has budget for another trial, and nothing is broken that would end it too."""
    trials = journal.of(arm)
    opened = journal.resumed  # what failed before may have been put right
    ended = [trial for trial in trials if trial.end is not None and trial.end.time >= opened]
    if len(ended) >= GIVE_UP and all(trial.outcome == "failed" for trial in ended[-GIVE_UP:]):
        return False  # something is broken; more trials would only fail as well
    most, epochs = most_trials(space, arm), space.budget.total_epochs
    return (most is None or len(trials) < most) and (
        epochs is None or journal.epochs_spent(arm) < epochs
    )


def most_trials(space: Space, arm: str) -> int | None:
    """How many trials an arm may have at most; None: no limit."""
    limits = [] if space.budget.trials is None else [space.budget.trials]
    if space.sampler == "points":
        limits.append(len(space.points.get(arm, [])))
    return min(limits, default=None)
