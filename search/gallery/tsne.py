"""t-SNE pictures of the winners, into the log: a report is made without models."""

from __future__ import annotations

from functools import partial

import numpy as np
from torch import Tensor

from search.gallery.judging import judges
from search.judge.trained_models import (
    Place,
    SavedModel,
    ask_model,
    here,
    on_any_device,
    with_models,
)
from search.log.events import Pictured
from search.log.study import Study
from search.log.trial import Trial
from supcon.evaluation.plane import NotDrawn, NothingToDraw
from supcon.evaluation.trained import embed_with
from supcon.evaluation.tsne import flatten_to_plane
from supcon.images.split import Split, Splits
from supcon.network.models import by_head
from supcon.parsing import Section, UserError, one_line

IMAGES = 1000
SECONDS = 300.0
"""That a picture may take; it takes about 5, where most images are the same about 30."""

Places = list[tuple[float, float]]


class Picture(Section):
    """Val by a winner, in the plane."""

    classes: list[str]
    labels: list[int]
    encoder: Places | None
    """By encoder features; null: `missing` says why."""
    projection: Places | None
    """After the projection head, where there is one."""


def unpictured(study: Study) -> list[Trial]:
    """The first tested run of each winner, where there is no picture of it."""
    known = {picture.key for picture in study.log.pictures}
    return [run for run in judges(study) if run.ask.key not in known]


def add_pictures(study: Study, data: Splits, place: Place = here) -> dict[str, str]:
    """Log a picture of each winner that has none.

    Returns:
        Arm -> why there is no picture of its winner. It may be there the next time: what cannot be
        drawn of features as they are is logged.
    """
    problems = {}
    for run in unpictured(study):
        try:
            picture = _picture(study, run, data, place)
        except (NotDrawn, UserError, OSError, RuntimeError) as error:  # no memory, no model
            problems[run.ask.arm] = one_line(error)
        else:
            study.log.append(picture)
    return problems


def _picture(study: Study, run: Trial, data: Splits, place: Place) -> Pictured:
    """Val, before and after the projection head."""
    some = np.linspace(0, len(data.val) - 1, min(IMAGES, len(data.val))).astype(np.intp)
    val = data.val.take(some)
    embeddings = ask_model(study, run, place, _embeddings, val)
    planes: dict[str, Places] = {}
    problems: dict[str, str] = {}
    for name, embedding in embeddings.items():
        try:
            places = flatten_to_plane(embedding, run.ask.seed, SECONDS).round(1)
            planes[name] = [(x, y) for x, y in places.tolist()]
        except NothingToDraw as error:
            problems[name] = str(error)
    return Pictured(
        arm=run.ask.arm,
        phase=run.ask.phase,
        number=run.ask.number,
        classes=list(data.classes),
        labels=val.labels.tolist(),
        encoder=planes.get("encoder"),
        projection=planes.get("projection"),
        problems=problems,
    )


def _embeddings(model: SavedModel, val: Split) -> dict[str, Tensor]:
    trained, config = model.load()
    embedded = embed_with(trained, config, val.images)
    embeddings = {"encoder": embedded.features.cpu()}
    if config.has_projection:
        embeddings["projection"] = by_head(embedded.outputs, config)[0].cpu()
    return embeddings


def pictures_later(study: Study) -> dict[str, str]:
    """Likewise for a study that is over: here, with the images as they are found now."""
    waiting = [run.ask.arm for run in unpictured(study)]
    if not waiting:
        return {}
    try:
        return with_models(study, partial(add_pictures, place=on_any_device))
    except UserError as error:
        return dict.fromkeys(waiting, one_line(error))
