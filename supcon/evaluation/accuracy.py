"""Shares of right answers, and whether classes are equal enough for one of them to do."""

from __future__ import annotations

from torch import Tensor


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of right answers, in [0, 1].

    Args:
        predictions: (N,) class ids.
        labels: (N,) class ids, N at least 1.
    """
    return (predictions == labels).double().mean().item()


def balanced_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur in `labels` of the share of right answers, in [0, 1].

    Args:
        predictions: (N,) class ids.
        labels: (N,) class ids, N at least 1.
    """
    counts = labels.bincount()
    right = labels[predictions == labels].bincount(minlength=len(counts))
    return (right / counts.double())[counts > 0].mean().item()


def is_balanced(labels: Tensor) -> bool:
    """Whether the most frequent class has at most 1.2 times the images of the rarest one.

    Accuracy and balanced accuracy then say the same. Classes that do not occur do not count.

    Args:
        labels: (N,) class ids, N at least 1.
    """
    counts = labels.bincount()
    counts = counts[counts > 0]
    return bool(counts.max() <= 1.2 * counts.min())
