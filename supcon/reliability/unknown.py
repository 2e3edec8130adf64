"""How well images of unknown classes are told from those of known ones: scores, and their worth.

A score is the larger, the less known an image seems: the distance to its k-th neighbour among the
training images (Sun et al. 2022, arXiv:2204.06507), the energy of its logits (Liu et al. 2020,
arXiv:2010.03759), or how far its largest probability is from 1 (Hendrycks & Gimpel 2017,
arXiv:1610.02136).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Floats = npt.NDArray[np.float64]

BLOCK = 2**26  # similarities that are in memory at once


def kth_distance(bank: Tensor, queries: Tensor, k: int) -> Tensor:
    """(M,) distance of each query to its k-th neighbour, of features brought to length 1; fp64.

    Args:
        bank: (N, D) features of the training images, N at least 1.
        queries: (M, D) features.
        k: at least 1; with fewer than k in the bank, the distance to the farthest.
    """
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    k = min(k, len(bank))
    found = []
    for block in queries.split(max(1, BLOCK // len(bank))):
        cosine = (block @ bank.T).topk(k, dim=1).values[:, -1]
        found.append((2 - 2 * cosine.double()).clamp(min=0).sqrt())
    return torch.cat(found)


def energy(logits: Tensor) -> Tensor:
    """(M,) energy -log sum exp of (M, K) logits; fp64."""
    return -logits.double().logsumexp(1)


def doubt(logits: Tensor) -> Tensor:
    """(M,) minus the log of the largest probability of (M, K) logits; fp64.

    It orders images as 1 minus that probability does, also where that would be rounded to 0.
    """
    ordered = logits.double().sort(1, descending=True).values
    others = (ordered[:, 1:] - ordered[:, :1]).exp().sum(1)
    return others.log1p()


def auroc(known: Floats, unknown: Floats) -> float:
    """The chance that an unknown image has a larger score than a known one; a tie counts half.

    Args:
        known: (N,) scores of images of known classes, N at least 1.
        unknown: (M,) of others, M at least 1.
    """
    ordered = np.sort(known)
    below = np.searchsorted(ordered, unknown, side="left")
    not_above = np.searchsorted(ordered, unknown, side="right")
    return float((below + not_above).mean() / 2 / len(known))


def fpr_at_recall(known: Floats, unknown: Floats, recall: float = 0.95) -> float:
    """Share of unknown images that pass for known, if at least `recall` of the known ones do.

    Args:
        known: (N,) scores of images of known classes, N at least 1.
        unknown: (M,) of others, M at least 1.
        recall: in (0, 1]; the threshold is the smallest score of a known image that reaches it.
    """
    place = math.ceil(recall * len(known) - 1e-9)
    threshold = np.sort(known)[place - 1]
    return float((unknown <= threshold).mean())


def threshold_for(distances: Floats, false_alarms: float) -> float | None:
    """The distance that a further image like these exceeds with at most the given probability.

    It is the ceil((M + 1)(1 - rate))-th smallest (split conformal prediction, Vovk et al. 2005): it
    holds for any distribution, as long as the further image is drawn like the M were.

    Args:
        distances: (M,) of images of known classes, none of which was trained on.
        false_alarms: the probability, in (0, 1).

    Returns:
        The threshold; None if M is too small to promise it (M < 1 / rate - 1).
    """
    place = math.ceil((len(distances) + 1) * (1 - false_alarms) - 1e-9)
    if place > len(distances):
        return None
    return float(np.sort(distances)[place - 1])
