"""Accuracies, and which of them a set of classes needs."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from supcon.evaluation.accuracy import accuracy, balanced_accuracy, is_balanced


def labels(n: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("right", "expected"), [(0, 0.0), (1, 1 / 3), (3, 1.0)])
def test_accuracy_is_the_share_of_right_answers(right: int, expected: float) -> None:
    answers = torch.arange(3)
    assert accuracy(torch.where(answers < right, answers, -1), answers) == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_is_that_of_scikit_learn(seed: int) -> None:
    y, guesses = labels(30, classes=6, seed=seed), labels(30, classes=6, seed=seed + 10)
    predictions = torch.where(labels(30, classes=2, seed=seed) == 0, y, guesses)
    y, predictions = y[y != 3], predictions[y != 3]  # a class that never occurs, only as a guess
    expected = balanced_accuracy_score(y.numpy(), predictions.numpy())
    assert balanced_accuracy(predictions, y) == pytest.approx(expected, abs=1e-12)
    assert balanced_accuracy(predictions, y) != accuracy(predictions, y)


def test_balanced_accuracy_of_the_most_frequent_class_is_chance() -> None:
    y = torch.tensor([0] * 90 + [1] * 10)
    assert accuracy(torch.zeros_like(y), y) == pytest.approx(0.9)
    assert balanced_accuracy(torch.zeros_like(y), y) == 0.5


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([10, 10, 10], True),
        ([10, 12, 11], True),
        ([10, 13, 10], False),
        ([5, 0, 6], True),  # a class that does not occur does not count
        ([5, 0, 7], False),
        ([1, 2], False),
        ([7], True),
    ],
)
def test_classes_are_balanced_up_to_a_fifth(counts: list[int], expected: bool) -> None:
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    assert is_balanced(y) is expected
    assert is_balanced(y.flip(0)) is expected
