"""t-SNE pictures of the winners, into the log: a report is made without models."""

from __future__ import annotations

import numpy as np

from search.judge.trained_models import load_run
from search.log.events import Pictured
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.winners import winner_runs
from supcon.evaluation.trained import embed_with
from supcon.evaluation.tsne import flatten_to_plane
from supcon.images.split import Splits

IMAGES = 1000


def add_pictures(study: Study, data: Splits) -> None:
    """Log a picture of the first tested run of each winner that has none."""
    known = {picture.key for picture in study.log.pictures}
    for each in winner_runs(study):
        tested = [run for run in each.runs(study) if run.tested is not None]
        if tested and tested[0].ask.key not in known:
            study.log.append(_picture(study, tested[0], data))


def _picture(study: Study, run: Trial, data: Splits) -> Pictured:
    """Val, before and after the projection head."""
    trained, config = load_run(study, run)
    some = np.linspace(0, len(data.val) - 1, min(IMAGES, len(data.val))).astype(np.intp)
    val = data.val.take(some)
    embedded = embed_with(trained, config, val.images)
    embeddings = [embedded.features]
    if config.loss.is_contrastive:
        embeddings.append(embedded.outputs)
    planes = [flatten_to_plane(x, run.ask.seed).round(1).tolist() for x in embeddings]
    return Pictured(
        arm=run.ask.arm,
        phase=run.ask.phase,
        number=run.ask.number,
        classes=list(data.classes),
        labels=val.labels.tolist(),
        encoder=planes[0],
        projection=planes[1] if len(planes) > 1 else None,
    )
