"""Shares of right answers, and whether classes are equal enough for one of them to do."""

from __future__ import annotations

from collections.abc import Iterable

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
    """As `are_equal`, of (N,) class ids, N at least 1."""
    return are_equal(labels.bincount().tolist())


def are_equal(counts: Iterable[int]) -> bool:
    """Whether the most frequent class has at most 1.2 times the images of the rarest one.

    Accuracy and balanced accuracy then say the same.

    Args:
        counts: images of each class, at least 1 of any; those that do not occur do not count.
    """
    there = [count for count in counts if count > 0]
    return max(there) <= 1.2 * min(there)
