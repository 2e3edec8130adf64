"""What an arm of a search may still spend: trials and epochs. Time: time_limit.py."""

from __future__ import annotations

import math

from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.space.space import Space
from search.strategy.giving_up import gave_up_over

LAST_PART = 0.15
"""Of an arm's epochs, in which trials that pause at rungs are trained to the end, the best first,
and no new one starts: little would come of it."""
TO_THE_END = ("sentinel", "end")


@remembered
def may_start(study: Study, arm: str) -> bool:
    """Whether an arm has budget for another trial, and did not give up."""
    most, epochs = most_trials(study.space, arm), study.space.budget.total_epochs
    return (
        (most is None or len(study.log.of(arm)) < most)
        and (epochs is None or study.log.totals(arm).epochs < epochs)
        and not is_last_part(study, arm)
        and not gave_up_over(study, arm)
    )


def pauses(space: Space) -> bool:
    """Whether trials pause at rungs. Where time limits a search, nobody knows when its last part
    begins: it might end with none trained to the end, so that they are stopped.
    """
    asha = space.scheduler.asha
    return asha is not None and asha.promotion and space.budget.time is None


def is_last_part(study: Study, arm: str) -> bool:
    """Whether what is left of an arm's epochs is for trials that wait at a rung."""
    total = study.space.budget.total_epochs
    if total is None or not pauses(study.space):
        return False
    return epochs_left(study, arm) <= LAST_PART * total


@remembered
def epochs_left(study: Study, arm: str) -> float:
    """Epochs of an arm's budget that no running trial will take; inf: they have no limit."""
    total = study.space.budget.total_epochs
    if total is None:
        return math.inf
    running = study.log.running(arm)
    taken = sum(_will_reach(study.space, trial) - trial.epochs for trial in running)
    return total - study.log.totals(arm).epochs - taken


def _will_reach(space: Space, trial: Trial) -> int:
    """The epoch to which a running trial is trained in any case."""
    rungs = space.rungs[-1:] if trial.promoted in TO_THE_END else space.rungs
    return next((rung for rung in rungs if rung > trial.epochs), rungs[-1])


def most_trials(space: Space, arm: str) -> int | None:
    """How many trials an arm may have at most; None: no limit."""
    limits = [] if space.budget.trials is None else [space.budget.trials]
    if space.sampler == "points":
        limits.append(len(space.points.get(arm, [])))
    return min(limits, default=None)
