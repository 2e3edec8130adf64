"""What a study is at, read off its log; what ends the search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from search.log.events import FINAL, TIME_UP, Move, Searched
from search.log.study import Study
from search.strategy.budget import may_start
from search.strategy.confirmation import (
    confirmation_is_over,
    has_best,
    next_after_search,
    seed_runs,
)
from search.strategy.giving_up import is_in_vain
from search.strategy.promotion import who_goes_on

Stage = Literal["noise floor", "search", "confirmation", "test", "done"]


def open_arms(study: Study) -> list[str]:
    """The arms whose search may start a trial, or go on with one that is paused."""
    if study.log.is_searched:
        return []
    return [arm for arm in study.arms if may_start(study, arm) or who_goes_on(study, arm)]


def search_is_over(study: Study) -> bool:
    """Whether nothing of the search is left to start or to finish."""
    return not open_arms(study) and not study.log.unfinished("search")


def stage(study: Study, seconds: float) -> Stage:
    """What a study is at, or would go on with.

    Args:
        study: the study.
        seconds: how long it has been worked on, as its budget counts them.
    """
    limit, log = study.space.budget.time, study.log
    if limit is None or seconds < limit:
        if open_arms(study) and {trial.ask.phase for trial in log.unfinished()} == {"published"}:
            return "noise floor"
        if not search_is_over(study):
            return "search"
        if (has_best(study) and not log.is_searched) or not confirmation_is_over(study):
            return "confirmation"
    if is_in_vain(study):
        return "done"  # there will be no verdict, and the test images stay sealed
    final = [run for r in seed_runs(study) if r.phase in FINAL for run in r.completed(study)]
    return "test" if any(run.tested is None for run in final) else "done"


def end_search(study: Study) -> None:
    """Log that the search is over, once, if it has found anything; else --resume may go on. Trials
    that still wait at a rung have ended by it.
    """
    if not study.log.is_searched and has_best(study):
        for trial in [trial for arm in study.arms for trial in study.log.paused(arm)]:
            study.log.end(trial.ask.key, "stopped", trial.epochs)
        study.log.append(Searched())


def next_trial(study: Study, next_of_search: Callable[[], Move | None]) -> Move | None:
    """The next trial of the search; once all of it has ended, which is logged, of what follows."""
    found = next_of_search()
    if found is None and search_is_over(study):
        end_search(study)
        return next_after_search(study)
    return found


def end_for_time(study: Study) -> None:
    """End the search trials that still ran when the time of the search was up."""
    for trial in study.log.unfinished("search"):
        study.log.end(trial.ask.key, "stopped", detail=TIME_UP)
