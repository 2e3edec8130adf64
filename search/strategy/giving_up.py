"""When an arm of a search starts no more trials, since nothing would come of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from search.log.events import Started
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.chance import is_above_chance

BAD_ENDS = ("infeasible", "diverged", "failed")


def came_to_nothing(study: Study, trial: Trial) -> bool:
    """Whether a trial ended infeasible, diverged or failed, or ended or paused and never scored
    above chance.

    One that was cut by the end of the study's time says nothing.
    """
    if trial.is_cut or not (trial.end or trial.is_paused):
        return False
    return trial.outcome in BAD_ENDS or not is_above_chance(study, trial)


def came_to_something(study: Study, trial: Trial) -> bool:
    """Whether a trial, ended well or still running, has scored above chance."""
    return trial.outcome not in BAD_ENDS and is_above_chance(study, trial)


@remembered
def gave_up_over(study: Study, arm: str) -> Sequence[Trial]:
    """The trials over which an arm gave up, in the order of their numbers; empty if it has not.

    With `budget.give_up: n`, an arm starts no more when its first n trials came to nothing and none
    came to something since; or when n in a row have failed, whatever went before: something broke.

    Trials that failed before the study was resumed do not count: what they failed of may have been
    put right. Nor do others, if it went on with other code, packages, machine or settings than it
    had when they ended; with the same ones they would end alike, and the arm stays as it is.
    """
    n, trials = study.space.budget.give_up, study.log.of(arm)
    if n is None:
        return ()
    if any(came_to_something(study, trial) for trial in trials):
        ended = (t for t in reversed(trials) if t.end and not t.is_cut and _counts(study, t))
        last = tuple(itertools.islice(ended, n))
        is_broken = [trial.outcome for trial in last] == ["failed"] * n
        return last[::-1] if is_broken else ()
    vain = tuple(t for t in trials if came_to_nothing(study, t) and _counts(study, t))
    return vain if len(vain) >= n else ()


def is_hopeless(study: Study, arm: str) -> bool:
    """Whether an arm gave up, and none of its trials is worth another look."""
    gave_up = bool(gave_up_over(study, arm))
    return gave_up and not any(came_to_something(study, t) for t in study.log.of(arm))


def hopeful_arms(study: Study) -> list[str]:
    """The arms of which something may come."""
    return [arm for arm in study.arms if not is_hopeless(study, arm)]


def is_in_vain(study: Study) -> bool:
    """Whether so many arms are hopeless that nothing is left to compare, or to look at."""
    return not is_any_left(study, [arm for arm in study.arms if is_hopeless(study, arm)])


def is_any_left(study: Study, without: Iterable[str]) -> bool:
    """Whether something can be compared, or the only arm looked at, without these arms."""
    left = set(study.arms).difference(without)
    pairs = study.space.comparisons
    return any({a, b} <= left for a, b in pairs) if pairs else bool(left)


def _counts(study: Study, trial: Trial) -> bool:
    since = study.log.resumed if trial.outcome == "failed" else _changed(study)
    last = trial.end or trial.reports[-1]
    return last.time >= since


@remembered
def _changed(study: Study) -> float:
    """When the study last went on with something that may let trials end otherwise."""
    starts = study.log.starts
    pairs = reversed(list(itertools.pairwise(starts)))
    return next((b.time for a, b in pairs if _conditions(a) != _conditions(b)), starts[0].time)


def _conditions(started: Started) -> tuple[object, ...]:
    """The budget may grow without that anything else changes."""
    space = {key: value for key, value in started.space.items() if key != "budget"}
    return started.commit, started.versions, started.machine, started.measured, space
