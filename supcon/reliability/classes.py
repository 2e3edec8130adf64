"""How well a classifier does by class: mean F1, and the class that it knows worst."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def macro_f1(predicted: Ints, labels: Ints) -> float:
    """Mean of F1 = 2 TP / (2 TP + FP + FN) over the classes that occur in `labels`, in [0, 1].

    Args:
        predicted: (N,) class ids.
        labels: (N,) class ids, N at least 1.
    """
    right, there, named = _counts(predicted, labels)
    f1 = 2 * right / np.maximum(there + named, 1)
    return float(f1[there > 0].mean())


def worst_class(predicted: Ints, labels: Ints) -> float:
    """The least share of right answers of a class that occurs in `labels`, in [0, 1]."""
    right, there, _ = _counts(predicted, labels)
    return float((right[there > 0] / there[there > 0]).min())


def _counts(predicted: Ints, labels: Ints) -> tuple[Ints, Ints, Ints]:
    """(K,) images of each class that are named rightly, that there are, that are named so."""
    k = int(max(predicted.max(), labels.max())) + 1
    right = np.bincount(labels[predicted == labels], minlength=k)
    return right, np.bincount(labels, minlength=k), np.bincount(predicted, minlength=k)
