"""What an arm of a search may still spend: trials and epochs. Time: time_limit.py."""

from __future__ import annotations

import itertools

from search.log.remembered import remembered
from search.log.study import Study
from search.space.space import Space

GIVE_UP = 3  # failed trials in a row after which an arm starts no more


@remembered
def may_start(study: Study, arm: str) -> bool:
    """Whether an arm has budget for another trial, and nothing is broken that would end it too."""
    trials = study.log.of(arm)
    opened = study.log.resumed  # what failed before may have been put right
    ended = (trial for trial in reversed(trials) if trial.end and trial.end.time >= opened)
    last = [trial.outcome for trial in itertools.islice(ended, GIVE_UP)]
    if last == ["failed"] * GIVE_UP:
        return False  # something is broken; more trials would only fail as well
    most, epochs = most_trials(study.space, arm), study.space.budget.total_epochs
    return (most is None or len(trials) < most) and (
        epochs is None or study.log.totals(arm).epochs < epochs
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
