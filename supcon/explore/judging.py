"""What the bundle says of the images that are looked at: classes, neighbours, doubts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supcon.bundle.fitting import reach
from supcon.bundle.manifest import Classifier
from supcon.bundle.model import Model
from supcon.bundle.nearest import Near, distance
from supcon.config import ProbeConfig
from supcon.evaluation.embedding import Embedded
from supcon.evaluation.label_errors import find_label_errors, out_of_sample
from supcon.explore.looking import UNKNOWN, Ids, Looked
from supcon.reliability.calibration import probabilities

SHOWN = 24  # images of a cell
NEAREST = 5  # neighbours of an image
FEWEST = 10  # images with a label among which wrong ones can be looked for

Floats = npt.NDArray[np.float64]


class NotJudged(Exception):
    """There is nothing to show; the message is why."""


@dataclass(frozen=True)
class Judged:
    """What is said of N images."""

    ids: Ids
    """(N,) the most probable classes."""
    sureness: Floats
    """(N,) their probabilities."""
    distances: Floats
    """(N,) 1 - cosine to the k-th nearest of the gallery, themselves not counted."""
    near: Tensor
    """(N, k) places of the nearest of the gallery."""


@dataclass(frozen=True)
class Cell:
    """Images of one class that are taken for one, which may be the same."""

    label: int
    predicted: int
    n: int
    shown: list[int]
    """At most `SHOWN` of them: the surest first where they are wrong, the least sure where not."""


@dataclass(frozen=True)
class Suspect:
    """An image for which another class is more probable than its label."""

    image: int
    predicted: int
    confidence: float
    """Probability of the label."""
    is_probable: bool
    """The label is probably wrong."""


def judge(model: Model, looked: Looked, by: Classifier) -> Judged:
    """Predictions and neighbours; an image of the gallery is not its own neighbour."""
    near = _neighbours(model, looked)
    embedded = Embedded(looked.features, looked.features)
    logits = model.logits(embedded, near, by)
    shares = probabilities(logits, model.manifest.temperatures[by]).cpu().numpy()
    return Judged(
        logits.argmax(1).cpu().numpy(),
        shares.max(1),
        distance(near, model.manifest.unknown.k).double().numpy(),
        near.places[:, :NEAREST],
    )


def _neighbours(model: Model, looked: Looked) -> Near:
    found = model.search(looked.features, reach(model.manifest) + 1)
    own = torch.from_numpy(looked.places)
    k = found.cosines.shape[1] - 1
    without, others = found.without(own), found.first(k)
    is_own = (own >= 0)[:, None]
    return Near(*(torch.where(is_own, a, b) for a, b in zip(without, others, strict=True)))


def confusions(looked: Looked, judged: Judged) -> list[Cell]:
    """The cells of the confusion matrix that are not empty, of images with a label that were not
    trained on.

    Raises:
        NotJudged: there are none.
    """
    new = np.flatnonzero(looked.is_new)
    if not len(new):
        raise NotJudged(
            "no image here has a label that is known, but for those the encoder was trained on; "
            "name a folder that holds a folder for each class"
        )
    pairs = np.stack([looked.labels[new], judged.ids[new]], axis=1)
    cells = []
    for label, predicted in np.unique(pairs, axis=0).tolist():
        own = new[(pairs == (label, predicted)).all(1)]
        sign = 1 if label == predicted else -1
        order = own[np.argsort(sign * judged.sureness[own], kind="stable")]
        cells.append(Cell(label, predicted, len(own), order[:SHOWN].tolist()))
    return cells


def suspects(looked: Looked, rule: ProbeConfig, classes: int, seed: int) -> list[Suspect]:
    """Images for which another class is more probable, the largest margin first.

    A probe is cross-validated on all features at hand; each part is compared by its own standard,
    since an encoder is surer of images that it was trained on.

    Args:
        looked: the images.
        rule: penalties and iterations of the probe.
        classes: number of classes.
        seed: of the folds.

    Raises:
        NotJudged: too few images have a label, or all the same one.
    """
    labelled = np.flatnonzero(looked.labels != UNKNOWN)
    labels, parts = looked.labels[labelled], looked.parts[labelled]
    if len(labelled) < FEWEST or len(np.unique(labels)) < 2:
        n, of = len(labelled), len(np.unique(labels))
        raise NotJudged(
            f"it takes {FEWEST} images with a known label, of 2 classes, to find doubtful ones; "
            f"here are {n} of {of}"
        )
    found = out_of_sample(
        looked.features[torch.from_numpy(labelled)],
        torch.from_numpy(labels),
        classes=classes,
        penalties=rule.l2,
        max_iter=rule.max_iter,
        seed=seed,
    ).numpy()
    ranked: list[tuple[float, Suspect]] = []
    for part in np.unique(parts):
        own = np.flatnonzero(parts == part)
        errors = find_label_errors(found[own], labels[own])
        ranked += [
            (
                float(errors.margin[i]),
                Suspect(
                    int(labelled[own[i]]),
                    int(errors.predicted[i]),
                    float(errors.self_confidence[i]),
                    bool(errors.is_probable[i]),
                ),
            )
            for i in errors.doubtful
        ]
    return [suspect for _, suspect in sorted(ranked, key=lambda pair: pair[0])]
