"""How well probabilities are calibrated: temperatures, calibration error, likelihood of labels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

Floats = npt.NDArray[np.float64]

LOWEST, HIGHEST = 0.01, 100.0  # temperatures
BINS = 15


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which softmax(logits / T) has the least cross entropy (Guo et al. 2017,
    arXiv:1706.04599), at most as sure as Platt's targets: where all M images are right, the label
    is taken to hold for all but 1 in M + 2, or T would fall to 0.

    Args:
        logits: (M, K) of images that were not trained on.
        labels: (M,) class ids.

    Returns:
        T in [0.01, 100]; 1 without images.
    """
    if len(labels) == 0:
        return 1.0
    logits, doubt = logits.double().cpu(), 1 / (len(labels) + 2)
    labels = labels.cpu()

    def loss(log_t: float) -> float:
        return F.cross_entropy(logits / math.exp(log_t), labels, label_smoothing=doubt).item()

    bounds = math.log(LOWEST), math.log(HIGHEST)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """(N, K) softmax of logits / temperature, in fp64."""
    return (logits.double() / temperature).softmax(1)


def calibration_error(probability: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Expected calibration error in bins of equally many images (Nixon et al. 2019,
    arXiv:1904.01685): the mean over the bins of |accuracy - mean of the largest probability|.

    Args:
        probability: (M, K).
        labels: (M,) class ids.
    """
    return gap(probability.max(1), probability.argmax(1) == labels)


def gap(sure: Floats, right: npt.NDArray[np.bool_]) -> float:
    """The same, from (M,) largest probabilities and whether their classes are right."""
    if not len(sure):
        return 0.0
    order = np.argsort(sure, kind="stable")
    bins = np.arange(min(BINS, len(order)))
    size, larger = divmod(len(order), len(bins))  # the first ones have an image more
    starts = bins * size + np.minimum(bins, larger)
    # Of a bin, its size times |mean - mean| is |sum - sum|.
    return float(np.abs(np.add.reduceat((right - sure)[order], starts)).sum()) / len(order)


def nll(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the labels by softmax(logits / temperature), in nats.

    Args:
        logits: (M, K).
        labels: (M,) class ids.
        temperature: > 0.

    Returns:
        At least 0; 0 without images.
    """
    return losses(logits, labels, temperature).mean().item() if len(labels) else 0.0


def losses(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """(M,) of which `nll` is the mean; fp64."""
    return F.cross_entropy(logits.double() / temperature, labels, reduction="none")


def share_logits(votes: Tensor) -> Tensor:
    """Votes (N, K), not negative, as logits: the log of their shares, of which 1 in 1,000 is spread
    over all classes, so that a class without a vote is improbable and not impossible.
    """
    shares = votes.double() / votes.double().sum(1, keepdim=True).clamp(min=1e-300)
    spread = 1e-3
    return torch.log((1 - spread) * shares + spread / votes.shape[1])
