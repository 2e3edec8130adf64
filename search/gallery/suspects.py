"""Labels of train and val that are probably wrong, by the winners: a list for people to look at.

The winners' encoders embed the images, a probe is cross-validated on the features, and what the
winners think on average is compared with the labels: all images for which another class is more
probable, the most suspicious first, and how many labels are probably wrong. No test image is used.
An encoder has seen the labels of train, and may have learned wrong ones by heart; those of val not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from search.gallery.judging import ask_later, ask_once, by_judges
from search.judge.trained_models import Place, SavedModel, ask_model, here
from search.log.events import Suspect, Suspected
from search.log.pictures import small_picture
from search.log.study import Study
from search.log.trial import Trial
from supcon.evaluation.label_errors import LabelErrors, find_label_errors, out_of_sample
from supcon.evaluation.trained import embed_with
from supcon.images.files import ImageFiles
from supcon.images.loading import in_files
from supcon.images.split import Split, Splits
from supcon.parsing import Section

PICTURES = 24
SIDE = 96  # of a picture, in pixels
LISTED = 5000  # so many at most are logged
COLUMNS = (
    *("rank", "part", "index", "file", "label", "predicted"),
    *("self_confidence", "margin", "probably_wrong"),
)


class Suspects(Section):
    """Labels of train and val that are probably wrong, or doubtful; suspects.csv has them."""

    images: int
    """Of train and val, that were looked at."""
    probable: int
    """Labels that are probably wrong, by confident learning."""
    found: int
    """With those for which another class is more probable, no more."""
    listed: int
    """At most 5,000, the most suspicious."""


def current(study: Study) -> Suspected | None:
    """What is logged of the labels by those that win now."""
    return by_judges(study, study.log.suspected)


def add_suspects(study: Study, data: Splits, place: Place = here) -> str:
    """Log the labels that are probably wrong, unless that is done; why it could not be."""
    return ask_once(study, data, study.log.suspected, _suspected, place)


def suspects_later(study: Study) -> str:
    """Likewise for a study that is over: with the images as they are found now."""
    return ask_later(study, study.log.suspected, add_suspects)


def suspects_csv(study: Study) -> str:
    """A row for each suspect that is logged, the most suspicious first; classes by name."""
    out, found = io.StringIO(), current(study)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    names = found.classes if found else []
    for rank, each in enumerate(found.suspects if found else [], start=1):
        place = [rank, each.part, each.index, each.file or ""]
        classes = [names[each.label], names[each.predicted]]
        wrong = "yes" if each.is_probable else "no"
        writer.writerow([*place, *classes, each.self_confidence, each.margin, wrong])
    return out.getvalue()


def _suspected(study: Study, runs: Sequence[Trial], data: Splits, place: Place) -> Suspected:
    labels = np.concatenate([data.train.labels, data.val.labels])
    given = data.train, data.val, len(data.classes)
    found_by = [ask_model(study, run, place, _probabilities, *given) for run in runs]
    probabilities = np.mean(found_by, axis=0)
    n_train = len(data.train)
    parts = {"train": slice(0, n_train), "val": slice(n_train, len(labels))}
    # Each part by its own standard: of images that an encoder was trained on it is surer.
    errors = {
        part: find_label_errors(probabilities[own], labels[own]) for part, own in parts.items()
    }
    found = [(each.margin[i], part, i) for part, each in errors.items() for i in each.doubtful]
    found.sort(key=lambda suspect: suspect[0])
    files = _files(study, data)
    return Suspected(
        judges=[run.ask.key for run in runs],
        classes=list(data.classes),
        n_images=len(labels),
        n_found=len(found),
        n_probable=sum(int(each.is_probable.sum()) for each in errors.values()),
        suspects=[
            _suspect(data, part, int(i), errors[part], files.get(part), has_picture=n < PICTURES)
            for n, (_, part, i) in enumerate(found[:LISTED])
        ],
    )


def _probabilities(
    model: SavedModel, train: Split, val: Split, classes: int
) -> npt.NDArray[np.float64]:
    """(N, K) of train and val together, by a run's features."""
    trained, config = model.load()
    features = torch.cat(
        [embed_with(trained, config, each.images).features for each in (train, val)]
    )
    found = out_of_sample(
        features,
        torch.tensor(np.concatenate([train.labels, val.labels]), device=features.device),
        classes=classes,
        penalties=config.probe.l2,
        max_iter=config.probe.max_iter,
        seed=config.run.seed,
    )
    return found.cpu().numpy()


def _suspect(
    data: Splits, part: str, i: int, errors: LabelErrors, files: list[str] | None, *,
    has_picture: bool,
) -> Suspect:  # fmt: skip
    split = data.train if part == "train" else data.val
    values: dict[str, Any] = {
        "part": part,
        "index": i,
        "label": int(split.labels[i]),
        "predicted": int(errors.predicted[i]),
        "self_confidence": round(float(errors.self_confidence[i]), 4),
        "margin": round(float(errors.margin[i]), 4),
        "is_probable": bool(errors.is_probable[i]),
    }
    if files is not None:
        values["file"] = files[i]
    if has_picture:
        values["picture"] = small_picture(split.images[np.array([i])][0], SIDE, "WEBP")
    return Suspect(**values)


def _files(study: Study, data: Splits) -> dict[str, list[str]]:
    """The images' files by part, where they have some: found again if they are in memory."""
    found = in_files(study.space.config.data, data)
    parts = {"train": found.train.images, "val": found.val.images}
    return {
        part: [str(path) for path in images.paths()]
        for part, images in parts.items()
        if isinstance(images, ImageFiles)
    }
