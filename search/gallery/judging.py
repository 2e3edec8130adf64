"""What the winners say of images, asked once and logged: who is asked, and when again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from search.judge.trained_models import Place, on_any_device, with_models
from search.log.events import Compared, Suspected
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.winners import winner_runs
from supcon.images.split import Splits
from supcon.parsing import UserError, one_line

Found = TypeVar("Found", Suspected, Compared)
Ask = Callable[[Study, Sequence[Trial], Splits, Place], Found]
"""What these runs say of the images, when they are asked at that place."""


def judges(study: Study) -> list[Trial]:
    """The first tested run of each winner."""
    runs = [[r for r in each.runs(study) if r.tested is not None] for each in winner_runs(study)]
    return [tested[0] for tested in runs if tested]


def by_judges(study: Study, found: Found | None) -> Found | None:
    """What is logged, if it is by those that win now."""
    keys = [run.ask.key for run in judges(study)]
    return found if found is not None and found.judges == keys else None


def ask_once(
    study: Study, data: Splits, logged: Found | None, ask: Ask[Found], place: Place
) -> str:
    """Log what the judges say, unless that is done; why it could not be."""
    runs = judges(study)
    if not runs or by_judges(study, logged) is not None:
        return ""
    try:
        study.log.append(ask(study, runs, data, place))
    except (UserError, OSError, RuntimeError) as error:  # no memory, no model, other images
        return one_line(error)
    return ""


def ask_later(
    study: Study, logged: Found | None, add: Callable[[Study, Splits, Place], str]
) -> str:
    """Likewise for a study that is over: here, with the images as they are found now."""
    if not judges(study) or by_judges(study, logged) is not None:
        return ""
    try:
        return with_models(study, lambda now, data: add(now, data, on_any_device))
    except UserError as error:
        return one_line(error)
