"""The training loss on a scale of its own: 0 at its least value, 1 where nothing is learned.

Losses at other temperatures, batch sizes or numbers of classes cannot be compared; their shares of
the way from a network that does not look at its images to the best there can be, can.

A contrastive loss is least where each class is a point and these are a regular simplex on the
sphere: similarity 1 within a class, -1 / (K - 1) between two. Graf et al. 2021 (arXiv:2102.08817,
theorem 2) prove it for `supcon`, in the mean over random batches of equally large classes, for
projections of at least K - 1 dimensions. The proof, by Jensen's inequality, holds for `sincere` as
well: its term too is convex in the similarities, and rises with those between classes and falls
with those within. Where classes are unequal another arrangement may be better, and its share is
below 0: with 20, 4 and 4 images of three classes in each batch that of supcon by 0.002 at
temperature 0.3 and by 0.04 at 1, that of sincere by 0.006 and 0.13 (found by gradient descent).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.config import Config

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class LossRange:
    """Between which values a training loss lies, in the mean over an epoch's batches."""

    least: float
    """The optimum."""
    constant: float
    """Of the best outputs that are the same for all images."""

    def share(self, loss: float) -> float:
        """0 at the optimum, 1 where nothing is learned; above 1 it is worse than that."""
        return (loss - self.least) / (self.constant - self.least)

    def mixed(self, other: LossRange, weight: float) -> LossRange:
        """Of this loss and another one, which has a `weight` of 0 to 1."""
        own = 1 - weight
        return LossRange(
            own * self.least + weight * other.least, own * self.constant + weight * other.constant
        )


def loss_share(found: LossRange | None, loss: float) -> dict[str, float]:
    """`train/loss_share` of an epoch's mean loss; empty where its range is not known."""
    return {} if found is None else {"train/loss_share": found.share(loss)}


def loss_range(config: Config, counts: Sequence[int]) -> LossRange | None:
    """The values of the training loss at its optimum, and where nothing is learned.

    Args:
        config: of the run.
        counts: training images of each class.

    Returns:
        None where no closed form is known: for `simclr`, whose optimum is a simplex of all images,
        for views that are mixed, and for fewer than K - 1 dimensions of the projection; or where
        both values are the same. That of `supcon_ce` is of both its parts: they have a head each.
    """
    if config.augment.is_mixed:
        return None
    if config.data.sampler == "balanced":
        n, k = sum(counts), sum(map(bool, counts))
        turns = iter([(n + place) // k for place in range(k)])
        counts = [next(turns) if own else 0 for own in counts]
    entropy = _of_cross_entropy(counts, config.loss.label_smoothing)
    has_room = 2 <= sum(map(bool, counts)) <= config.model.head_dim + 1
    simplex = _of_simplex(config, [own for own in counts if own]) if has_room else None
    found = {"ce": entropy, "supcon": simplex, "sincere": simplex}.get(config.loss.name)
    if config.loss.name == "supcon_ce" and simplex is not None:
        found = simplex.mixed(entropy, config.loss.ce_weight)
    return found if found is not None and found.constant > found.least else None


def _of_cross_entropy(counts: Sequence[int], smoothing: float) -> LossRange:
    """Its optimum is the entropy of the smoothed target. Of constant logits those are the best that
    name the shares of the classes: log K where they are equal. An adjustment of logits changes
    neither, since logits can make up for it.
    """
    k, share = len(counts), np.array(counts) / sum(counts)
    mean_target = (1 - smoothing) * share + smoothing / k
    target = (1 - smoothing) * np.eye(k)[0] + smoothing / k
    return LossRange(_entropy(target), _entropy(mean_target))


def _entropy(p: Numbers) -> float:
    return float(-(p * np.log(p, where=p > 0, out=np.zeros_like(p))).sum())


def _of_simplex(config: Config, counts: Sequence[int]) -> LossRange:
    """Expected over batches of B of the images, drawn without putting back.

    With n of its N = V B views in its class, an anchor of `supcon` has the loss
    log(n - 1 + (N - n) e) at the simplex, e = exp(-K / (K - 1) / temperature), and log(N - 1) if
    all features are equal; one of `sincere` log(1 + (N - n) e) and log(1 + N - n).
    """
    views, batch = config.augment.views, config.data.batch_size
    t, k = config.loss.temperature, len(counts)
    size_S, times_S = np.unique(counts, return_counts=True)
    chance_SB = _hypergeometric(sum(counts), size_S, batch)
    n_B = views * np.arange(1, batch + 1)
    others_B = views * batch - n_B
    own_B = np.ones(batch) if config.loss.name == "sincere" else n_B - 1
    weight_B = times_S @ chance_SB * n_B / (views * batch)  # of anchors with n of N
    scale = t / config.loss.base_temperature
    least = weight_B @ np.log(own_B + others_B * math.exp(-k / (k - 1) / t))
    return LossRange(scale * float(least), scale * float(weight_B @ np.log(own_B + others_B)))


def _hypergeometric(n: int, own_S: Numbers, drawn: int) -> Numbers:
    """(S, drawn) chances that 1, 2, ... of `drawn` out of `n` images are of a class's own."""
    log_factorial = np.concatenate([[0], np.log(np.arange(1, n + 1)).cumsum()])

    def log_choices(of: Numbers, k: Numbers) -> Numbers:
        rest = log_factorial[np.maximum(of - k, 0)]
        found: Numbers = log_factorial[of] - log_factorial[np.minimum(k, n)] - rest
        return np.where(k > of, -np.inf, found)

    own_S1, k_B = own_S[:, None], np.arange(1, drawn + 1)
    log_all = log_choices(np.array(n), np.array(drawn))
    chances: Numbers = np.exp(
        log_choices(own_S1, k_B) + log_choices(n - own_S1, drawn - k_B) - log_all
    )
    return chances
