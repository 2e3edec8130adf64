"""Tested runs examined by further measures, once each, into the log: a report takes no model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from search.further.blocks import MOST, count_units, deal
from search.judge.comparison import equal_parts
from search.judge.sealed import opened_images
from search.judge.trained_models import (
    Place,
    SavedModel,
    ask_model,
    here,
    on_any_device,
    with_models,
)
from search.log.events import Examined
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.winners import final_runs
from supcon.images.loading import find_unknown
from supcon.images.split import Split, Splits, fingerprint
from supcon.parsing import UserError, one_line
from supcon.reliability.examination import Exam, Unknown, Values, corrupted_images, examine

Ints = npt.NDArray[np.int64]

DIGITS = 7  # of what is logged; jackknife multiplies an error of it by 30


def unexamined(study: Study) -> list[Trial]:
    """Tested runs of the report's rows that were not examined yet."""
    runs = [run for row in final_runs(study) for run in row.runs(study)]
    return [run for run in runs if run.tested is not None and run.examined is None]


def add_examined(study: Study, data: Splits, place: Place = here) -> str:
    """Examine the tested runs that were not, and log what is found; why one could not be.

    It takes place after the test images were opened for these runs, and is no new opening: nothing
    is decided by it.
    """
    waiting, problems = unexamined(study), list[str]()
    if not waiting:
        return ""
    try:
        exam = _exam(study, data)
        unknown_hash = _unknown_hash(study)
    except (UserError, OSError, RuntimeError) as error:
        return one_line(error)
    given: list[Any] = [data.train, data.val, exam.test, exam.blocks]
    if exam.unknown is not None:
        given += [exam.unknown.images, exam.unknown.blocks, exam.unknown.test_blocks]
    for run in waiting:
        try:
            values = ask_model(study, run, place, _examined, *given)
        except (UserError, OSError, RuntimeError) as error:  # no memory, no model
            problems.append(f"{run.name}: {one_line(error)}")
        else:
            study.log.append(_event(run, exam, unknown_hash, values))
    more = f"; nor {len(problems) - 1} others" if len(problems) > 1 else ""
    return problems[0] + more if problems else ""


def examined_later(study: Study) -> str:
    """Likewise for a study that is over: here, with the images as they are found now."""
    if not unexamined(study):
        return ""
    try:
        return with_models(study, lambda now, data: add_examined(now, data, on_any_device))
    except UserError as error:
        return one_line(error)


def _exam(study: Study, data: Splits) -> Exam:
    test, unknown = opened_images(study, data)
    n_blocks = min(MOST, count_units(test))
    exam = Exam(test, deal(test, n_blocks))
    if unknown is None:
        return exam
    joint = min(n_blocks, count_units(unknown))
    if joint < 2:
        raise UserError(
            f"data.unknown: at least 2 images of unknown classes, or groups of them, are needed, "
            f"got {joint}; add some"
        )
    own = Unknown(unknown, deal(unknown, joint, by_class=False), deal(test, joint))
    return replace(exam, unknown=own)


def _unknown_hash(study: Study) -> str:
    """Of the images of unknown classes, which must be those of the runs that were examined."""
    unknown = find_unknown(study.space.config.data)  # not decoded, however much memory there is
    now = "" if unknown is None else fingerprint([unknown], (), reads_files=True)
    for run in study.log.trials.values():
        if run.examined is not None and run.examined.unknown_hash != now:
            raise UserError(
                f"data.unknown: the images of unknown classes are not those that {run.name} was "
                f"examined by (hash {run.examined.unknown_hash[:12] or 'none'}, now "
                f"{now[:12] or 'none'}); put them back"
            )
    return now


def _examined(
    model: SavedModel, train: Split, val: Split, test: Split, blocks: Ints, *unknown: Any
) -> dict[str, Values]:
    trained, config = model.load()
    exam = Exam(test, blocks, Unknown(*unknown) if unknown else None)
    return examine(trained, config, train, val, exam)


def _event(run: Trial, exam: Exam, unknown_hash: str, found: dict[str, Values]) -> Examined:
    joint = [exam.unknown.blocks, exam.unknown.test_blocks] if exam.unknown is not None else []
    return Examined(
        arm=run.ask.arm,
        phase=run.ask.phase,
        number=run.ask.number,
        n_images=len(exam.test),
        n_corrupted=len(corrupted_images(len(exam.test))),
        n_unknown=0 if exam.unknown is None else len(exam.unknown.images),
        unknown_hash=unknown_hash,
        n_equal=_equal_blocks(exam.blocks),
        n_equal_unknown=min(map(_equal_blocks, joint)) if joint else None,
        values={
            name: {measure: [round(x, DIGITS) for x in each] for measure, each in values.items()}
            for name, values in found.items()
        },
    )


def _equal_blocks(blocks: Ints) -> float:
    return round(equal_parts(np.bincount(blocks).astype(np.float64)), 3)
