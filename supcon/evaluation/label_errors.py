"""Which labels are probably wrong: confident learning (Northcutt et al. 2021, arXiv:1911.00068).

`out_of_sample` gives each image probabilities by a probe that was not trained on it;
`find_label_errors` compares them with the labels that were given. The counts of the confident joint
say how many labels are wrong and which, class by class; so a class of which the probe is never sure
is held to its own standard. Written here after the paper, since cleanlab, which its authors
maintain, has a licence (AGPL-3) that does not suit this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from supcon.evaluation.probe import logistic_regressions

FOLDS = 5

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelErrors:
    """What is known of the labels of N images."""

    doubtful: npt.NDArray[np.intp]
    """Indices of the images for which another class is more probable, the largest margin first."""
    is_probable: npt.NDArray[np.bool_]
    """(N,) those of them whose label is probably wrong: as many as the confident joint estimates.
    It errs to the low side where a probe is nearly always sure."""
    predicted: Labels
    """(N,) the most probable classes."""
    self_confidence: Floats
    """(N,) probability of the label that was given."""
    margin: Floats
    """(N,) the same minus the largest probability of another class, in [-1, 1]."""


def find_label_errors(probabilities: Floats, labels: Labels) -> LabelErrors:
    """Images to be looked at, ranked by normalised margin, and "prune by noise rate" among them.

    Of the images with label i as many are suspected to be j as the confident joint estimates that
    there are: those with the largest p_j - p_i.

    Args:
        probabilities: (N, K) out of sample; K at least 2.
        labels: (N,) class ids as given.
    """
    rows = np.arange(len(labels))
    given = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    margin = given - others.max(1)
    is_suspect = np.zeros(len(labels), dtype=bool)
    joint = confident_joint(probabilities, labels)
    for i, j in np.argwhere(joint > 0):
        own = np.flatnonzero(labels == i)
        if i != j:
            n = round(len(own) * joint[i, j] / joint[i].sum())
            gain = probabilities[own, j] - probabilities[own, i]
            is_suspect[own[np.argsort(-gain, kind="stable")[:n]]] = True
    order = np.argsort(margin, kind="stable")
    return LabelErrors(
        doubtful=order[margin[order] < 0],
        is_probable=is_suspect & (margin < 0),
        predicted=probabilities.argmax(1),
        self_confidence=given,
        margin=margin,
    )


def confident_joint(probabilities: Floats, labels: Labels) -> npt.NDArray[np.int64]:
    """(K, K) counts of images that were given label i and are confidently j (eq. 1 and 2).

    An image is confidently j if p_j is at least the mean of p_j over the images that were given j;
    if that holds for several classes, it is the most probable of them. A class has at least one
    image that is confidently itself.

    Args:
        probabilities: (N, K) out of sample.
        labels: (N,) class ids as given.
    """
    classes = probabilities.shape[1]
    threshold = np.full(classes, np.inf)  # of a class that was never given
    for j in np.unique(labels):
        threshold[j] = probabilities[labels == j, j].mean()
    is_above = probabilities >= threshold
    likeliest = np.where(is_above, probabilities, -1).argmax(1)
    sure = is_above.any(1)
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[sure], likeliest[sure]), 1)
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    return joint


def out_of_sample(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    penalties: Sequence[float],
    max_iter: int,
    seed: int,
) -> Tensor:
    """Probabilities by logistic regression, each image's by one that did not see it.

    Args:
        features: (N, D), not from test images.
        labels: (N,) class ids.
        classes: number of classes K.
        penalties: L2 penalties that are tried; the one with the least cross entropy out of sample
            is taken.
        max_iter: L-BFGS iterations for each.
        seed: of the folds, to which a class's images are dealt in turn.

    Returns:
        (N, K) in fp64.
    """
    fold = _folds(labels.cpu(), seed).to(labels.device)
    found = torch.zeros(len(penalties), len(labels), classes, dtype=torch.float64)
    log_p_LNK = found.to(features.device)
    for k in fold.unique():
        own = fold == k
        probes = logistic_regressions(
            features[~own], labels[~own], classes=classes, penalties=penalties, max_iter=max_iter
        )
        for log_p_NK, probe in zip(log_p_LNK, probes, strict=True):
            log_p_NK[own] = probe.logits(features[own]).log_softmax(1)
    losses = [F.nll_loss(log_p_NK, labels).item() for log_p_NK in log_p_LNK]
    return log_p_LNK[losses.index(min(losses))].exp()


def _folds(labels: Tensor, seed: int) -> Tensor:
    """(N,) the fold of each image; every class is spread over all, as far as it goes."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[by_class] = torch.arange(len(labels)) % FOLDS
    return fold
