"""What an arm of a search may still spend: trials and epochs. Time: time_limit.py."""

from __future__ import annotations

from search.log.remembered import remembered
from search.log.study import Study
from search.space.space import Space
from search.strategy.giving_up import gave_up_over


@remembered
def may_start(study: Study, arm: str) -> bool:
    """Whether an arm has budget for another trial, and did not give up."""
    most = most_trials(study.space, arm)
    has_left = most is None or len(study.log.of(arm)) < most
    return has_left and may_train(study, arm)


@remembered
def may_train(study: Study, arm: str, more: int = 0) -> bool:
    """Whether an arm has epochs left, beside `more` that are not logged, and did not give up."""
    epochs = study.space.budget.total_epochs
    is_spent = epochs is not None and study.log.totals(arm).epochs + more >= epochs
    return not is_spent and not gave_up_over(study, arm)


def pauses(space: Space) -> bool:
    """Whether trials pause at rungs; else those that do not pass one are stopped."""
    asha = space.scheduler.asha
    return asha is not None and asha.promotion


def most_trials(space: Space, arm: str) -> int | None:
    """How many trials an arm may have at most; None: no limit."""
    limits = [] if space.budget.trials is None else [space.budget.trials]
    if space.sampler == "points":
        limits.append(len(space.points.get(arm, [])))
    return min(limits, default=None)
