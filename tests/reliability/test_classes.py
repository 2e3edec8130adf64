"""Measures by class, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from supcon.reliability.classes import macro_f1, worst_class


@pytest.mark.parametrize("seed", range(4))
def test_both_are_those_of_scikit_learn_over_the_classes_that_there_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 5], 60, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(60) < 0.6, labels, rng.integers(0, 7, 60))  # 6 is none of them
    there = {"labels": np.unique(labels), "average": None, "zero_division": 0}
    f1, recall = f1_score(labels, predicted, **there), recall_score(labels, predicted, **there)
    assert macro_f1(predicted, labels) == pytest.approx(f1.mean())
    assert worst_class(predicted, labels) == pytest.approx(recall.min())


def test_a_class_that_is_never_found_is_the_worst() -> None:
    labels = np.array([0, 0, 1, 2])
    assert worst_class(np.array([0, 0, 1, 0]), labels) == 0
    assert macro_f1(labels, labels) == worst_class(labels, labels) == 1
