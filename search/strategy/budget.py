"""What an arm of a search may still spend: trials and epochs. Time: time_limit.py."""

from __future__ import annotations

from search.log.remembered import remembered
from search.log.study import Study
from search.space.space import Space
from search.strategy.giving_up import gave_up_over


@remembered
def may_start(study: Study, arm: str) -> bool:
    """Whether an arm has budget for another trial, and did not give up."""
    most, epochs = most_trials(study.space, arm), study.space.budget.total_epochs
    return (
        (most is None or len(study.log.of(arm)) < most)
        and (epochs is None or study.log.totals(arm).epochs < epochs)
        and not gave_up_over(study, arm)
    )


def open_arms(study: Study) -> list[str]:
    """The arms whose search may start another trial."""
    if study.log.is_searched:
        return []
    return [arm for arm in study.arms if may_start(study, arm)]


def search_is_over(study: Study) -> bool:
    """Whether nothing of the search is left to start or to finish."""
    return not open_arms(study) and not study.log.unfinished("search")


def most_trials(space: Space, arm: str) -> int | None:
    """How many trials an arm may have at most; None: no limit."""
    limits = [] if space.budget.trials is None else [space.budget.trials]
    if space.sampler == "points":
        limits.append(len(space.points.get(arm, [])))
    return min(limits, default=None)
