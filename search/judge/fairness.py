"""Were the arms searched alike, and how much of a search's best score was luck?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from pydantic.dataclasses import dataclass as documented

from search.judge.difference import mean_interval
from search.log.study import Study
from search.strategy.giving_up import hopeful_arms
from supcon.parsing import DOCUMENTED


@documented(frozen=True, config=DOCUMENTED)
class Curse:
    """What a search's best score loses when its configuration is trained again on fresh seeds."""

    searched: float
    confirmed: float
    """Mean over the fresh seeds."""
    drop: float
    """Searched minus confirmed."""
    ci95: tuple[float, float] | None
    """Of the drop, from the spread of the fresh seeds; None with a single one."""


def winners_curse(searched: float, confirmed: Sequence[float]) -> Curse:
    """How much of a search's best score was luck.

    Args:
        searched: the score that won the search.
        confirmed: the same score of the same configuration, on >= 1 fresh seeds.
    """
    if not confirmed or not all(map(math.isfinite, [searched, *confirmed])):
        raise ValueError(f"finite scores are needed, got {searched} and {list(confirmed)}")
    mean, interval = statistics.mean(confirmed), mean_interval(confirmed)
    ci95 = interval and (searched - interval[1], searched - interval[0])
    return Curse(searched, mean, searched - mean, ci95)


def budget_problem(views: Mapping[str, int], full_trial: int) -> tuple[str | None, str | None]:
    """What unequal search budgets forbid, as (why there is no verdict, what to keep in mind).

    Args:
        views: augmented views of images that each arm's search has trained on.
        full_trial: views of a trial that is trained to the end; of the arm where that is more.
    """
    less, more = min(views, key=views.__getitem__), max(views, key=views.__getitem__)
    figures = (
        f"the search of {less} trained on {views[less]:,} views, that of {more} on {views[more]:,}"
    )
    way_out = "continue with --extend and a larger budget, or search again with equal budgets"
    if 2 * views[less] < views[more]:
        return f"{figures}, more than twice as many; {way_out}", None
    if views[more] - views[less] > full_trial:
        trial = f"more than a full trial of {full_trial:,} views apart"
        return None, f"{figures}, {trial}; {way_out}"
    return None, None


def budget_problems(study: Study) -> tuple[str | None, str | None]:
    """What unequal searches forbid, and what to keep in mind, as `budget_problem`."""
    arms = hopeful_arms(study)  # what the others spent is no excuse for one that gave up
    views = {arm: study.log.totals(arm).views for arm in arms}
    full = [
        trial.last.views * study.length_of(trial.ask) // trial.last.epoch
        for arm in arms
        for trial in study.log.of(arm)
        if trial.last is not None and trial.last.epoch > 0
    ]
    return budget_problem(views, max(full, default=0))
