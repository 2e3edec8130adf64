"""Embedding and kNN against slow loops."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor, nn

from supcon.evaluate import BATCH, accuracy, embed, knn_predict

CPU = torch.device("cpu")


def features(n: int, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def labels(n: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed))


def predict(bank: Tensor, y: Tensor, queries: Tensor, **changes: Any) -> list[int]:
    options = {"classes": 3, "k": 5, "temperature": 0.07} | changes
    ids: list[int] = knn_predict(bank, y, queries, **options).tolist()
    return ids


def slow_knn(bank: Tensor, y: Tensor, queries: Tensor, k: int, temperature: float) -> list[int]:
    ids = []
    for q in queries.double():
        cosines = [float(q @ b / (q.norm() * b.norm())) for b in bank.double()]
        nearest = sorted(range(len(bank)), key=lambda j: -cosines[j])[:k]
        votes = [0.0, 0.0, 0.0]
        for j in nearest:
            votes[int(y[j])] += math.exp(cosines[j] / temperature)
        ids.append(votes.index(max(votes)))
    return ids


@pytest.mark.parametrize("k", [1, 5, 20, 40])
@pytest.mark.parametrize("temperature", [0.07, 0.3, 1.0])
def test_knn_equals_a_slow_loop(k: int, temperature: float) -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    bank = bank + nn.functional.one_hot(y, 4)  # so that all classes get votes
    ids = predict(bank, y, queries, k=k, temperature=temperature)
    assert ids == slow_knn(bank, y, queries, k, temperature)
    assert len(set(ids)) > 1


def test_the_nearest_neighbour_is_that_of_pytorch_metric_learning() -> None:
    bank, y, queries, query_y = features(60), labels(60), features(30, seed=1), labels(30, seed=1)
    unit = torch.nn.functional.normalize
    theirs = AccuracyCalculator(include=("precision_at_1",), k=1, device=CPU).get_accuracy(
        unit(queries), query_y, unit(bank), y
    )
    ours = accuracy(torch.tensor(predict(bank, y, queries, k=1)), query_y)
    assert ours == pytest.approx(theirs["precision_at_1"])


def test_k_is_clamped_to_the_bank() -> None:
    bank, y, queries = features(7), labels(7), features(5, seed=1)
    assert predict(bank, y, queries, k=200) == predict(bank, y, queries, k=7)


def test_knn_ignores_the_order_of_bank_and_queries() -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    ids = predict(bank, y, queries)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert predict(bank[order], y[order], queries) == ids
    assert predict(bank, y, queries.flip(0)) == ids[::-1]


def test_knn_ignores_the_length_of_features() -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    lengths = torch.rand(40, 1, generator=torch.Generator().manual_seed(2)) * 100 + 0.1
    assert predict(bank * lengths, y, queries * 7) == predict(bank, y, queries)


@pytest.mark.parametrize("n", [1, BATCH - 1, BATCH, BATCH + 1])
def test_every_image_is_scored(n: int) -> None:
    bank, y, queries = features(40), labels(40), features(n, seed=1)
    ids = predict(bank, y, queries)
    assert len(ids) == n
    assert ids[-1] == predict(bank, y, queries[-1:])[0]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_equal_votes_the_lowest_class_wins(order: list[int]) -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    queries = torch.tensor([[1.0, 1.0]])
    assert predict(bank, torch.tensor([2, 1])[order], queries, k=2) == [1]


@pytest.mark.parametrize("temperature", [1e-4, 1e4])
def test_votes_are_finite_at_any_temperature(temperature: float) -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    y = torch.tensor([2, 1, 1])
    nearest = predict(bank, y, torch.tensor([[1.0, 0.1]]), k=3, temperature=temperature)
    assert nearest == ([2] if temperature < 1 else [1])


def test_a_class_that_the_bank_lacks_is_never_predicted() -> None:
    assert set(predict(features(9), torch.full((9,), 1), features(5, seed=1), classes=7)) == {1}


class Sum(nn.Module):
    """Features of an image: the sum over each channel, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images.float().sum((2, 3))


def pixels(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("n", [1, BATCH, BATCH + 1, 2 * BATCH + 7])
def test_embedding_equals_one_big_forward_pass(n: int) -> None:
    images = pixels(n)
    images.setflags(write=False)  # as handed out by a search
    embedded = embed(Sum(), images, device=CPU, autocast=nullcontext)
    expected = 0.5 * torch.tensor(images.astype(np.float32).sum((1, 2)))
    torch.testing.assert_close(embedded, expected)
    assert not embedded.requires_grad


def test_embedding_ignores_the_order_of_images() -> None:
    images = pixels(BATCH + 9)
    embedded = embed(Sum(), images, device=CPU, autocast=nullcontext)
    turned = embed(Sum(), images[::-1].copy(), device=CPU, autocast=nullcontext)
    assert torch.equal(turned.flip(0), embedded)


def test_embeddings_are_fp32_under_autocast() -> None:
    linear = nn.Sequential(Sum(), nn.Linear(3, 2))
    embedded = embed(
        linear, pixels(3), device=CPU, autocast=lambda: torch.autocast("cpu", torch.bfloat16)
    )
    assert embedded.dtype == torch.float32
    assert torch.equal(embedded, embedded.bfloat16().float())  # computed in bf16


@pytest.mark.parametrize(("right", "expected"), [(0, 0.0), (1, 1 / 3), (3, 1.0)])
def test_accuracy_is_the_share_of_right_answers(right: int, expected: float) -> None:
    answers = torch.arange(3)
    assert accuracy(torch.where(answers < right, answers, -1), answers) == expected
