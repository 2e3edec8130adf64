"""The vote of the nearest neighbours, against slow loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import Tensor, nn

from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.knn import QUERIES, knn_predict, nearest

CPU = torch.device("cpu")


def features(n: int, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def labels(n: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed))


def predict(bank: Tensor, y: Tensor, queries: Tensor, **changes: Any) -> list[int]:
    options = {"classes": 3, "k": 5, "temperature": 0.07} | changes
    ks = [options.pop("k")]
    (predictions,) = knn_predict(bank, y, queries, ks=ks, **options)
    ids: list[int] = predictions.tolist()
    return ids


def slow_votes(
    bank: Tensor, y: Tensor, queries: Tensor, k: int, temperature: float
) -> list[list[float]]:
    """The votes for each of three classes; of all that are as near as the k-th neighbour."""
    votes = []
    for q in queries.double():
        cosines = [float(q @ b / (q.norm() * b.norm())) for b in bank.double()]
        nearest = [j for j in range(len(bank)) if cosines[j] >= sorted(cosines)[-k]]
        each = [0.0, 0.0, 0.0]
        for j in nearest:
            each[int(y[j])] += math.exp(cosines[j] / temperature)
        votes.append(each)
    return votes


def slow_knn(bank: Tensor, y: Tensor, queries: Tensor, k: int, temperature: float) -> list[int]:
    votes = slow_votes(bank, y, queries, k, temperature)
    return [each.index(max(each)) for each in votes]


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
    calculator = AccuracyCalculator(
        include=("precision_at_1",), k=1, device=CPU, knn_func=CustomKNN(CosineSimilarity())
    )
    theirs = calculator.get_accuracy(unit(queries), query_y, unit(bank), y)
    ours = accuracy(torch.tensor(predict(bank, y, queries, k=1)), query_y)
    assert ours == pytest.approx(theirs["precision_at_1"])


def test_several_k_are_voted_on_at_once_as_each_alone() -> None:
    bank, y, queries = features(40), labels(40), features(25, seed=1)
    together = knn_predict(bank, y, queries, classes=3, ks=[9, 1, 99], temperature=0.07)
    for k, ids in zip([9, 1, 99], together, strict=True):
        assert ids.tolist() == predict(bank, y, queries, k=k)


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


# Points at the corners of two crosses: all their cosines are multiples of 1/2, without rounding.
SIGNS = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 4)
CORNERS = torch.cat([torch.eye(4), -torch.eye(4), SIGNS / 2])


def corners(n: int, seed: int) -> Tensor:
    return CORNERS[labels(n, classes=len(CORNERS), seed=seed)]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_all_neighbours_as_near_as_the_last_one_vote(k: int) -> None:
    bank, y, queries = corners(60, 0), labels(60), corners(40, 1)
    votes = torch.tensor(slow_votes(bank, y, queries, k, temperature=0.5))
    best = votes.sort(descending=True).values
    is_clear = best[:, 0] > 1.001 * best[:, 1]  # rounding does not decide
    assert is_clear.sum() > 20
    ids = torch.tensor(predict(bank, y, queries, k=k, temperature=0.5))
    assert torch.equal(ids[is_clear], votes.argmax(1)[is_clear])


@pytest.mark.parametrize("k", [1, 3, 10])
def test_knn_ignores_the_order_of_a_bank_with_duplicates(k: int) -> None:
    bank, y, queries = corners(60, 0), labels(60), corners(40, 1)
    votes = torch.tensor(slow_votes(bank, y, queries, k, temperature=0.5))
    best = votes.sort(descending=True).values
    is_clear = best[:, 0] > 1.001 * best[:, 1]
    ids = torch.tensor(predict(bank, y, queries, k=k, temperature=0.5))
    for seed in range(5):
        order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
        turned = torch.tensor(predict(bank[order], y[order], queries, k=k, temperature=0.5))
        assert torch.equal(turned[is_clear], ids[is_clear])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_of_two_equal_nearest_neighbours_the_lowest_class_wins(order: list[int]) -> None:
    bank, y = torch.stack([CORNERS[9], CORNERS[9], CORNERS[0]]), torch.tensor([2, 1, 0])
    assert predict(bank[order], y[order], CORNERS[9:10], k=1) == [1]


@pytest.mark.parametrize("n", [5, 17, 33])
def test_copies_of_an_image_are_equally_near(n: int) -> None:
    bank, queries = features(1, dim=16).expand(n, -1), features(2, dim=16, seed=1)
    for lowest_at in range(n):
        y = torch.full((n,), 2)
        y[lowest_at] = 1
        assert predict(bank, y, queries, k=1) == [2, 2]


@pytest.mark.parametrize("n", [1, QUERIES - 1, QUERIES, QUERIES + 1])
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


def test_features_in_half_precision_vote_in_full() -> None:
    bank, y, queries = features(40).half(), labels(40), features(25, seed=1).half()
    assert predict(bank, y, queries, temperature=0.05) == predict(
        bank.float(), y, queries.float(), temperature=0.05
    )


def test_classes_that_no_query_has_take_part_in_the_vote() -> None:
    bank, y = CORNERS[:4], torch.tensor([0, 6, 2, 1])
    assert predict(bank, y, CORNERS[1:2], classes=7, k=1) == [6]


def test_a_class_that_the_bank_lacks_is_never_predicted() -> None:
    assert set(predict(features(9), torch.full((9,), 1), features(5, seed=1), classes=7)) == {1}


def test_the_nearest_are_those_of_a_slow_sort() -> None:
    bank, queries = features(30), features(7, seed=1)
    found = nearest(bank, queries, 4)
    for query, own in zip(queries, found.tolist(), strict=True):
        cosines = [float(query @ b / b.norm()) for b in bank]
        assert own == sorted(range(30), key=lambda j: -cosines[j])[:4]
    assert nearest(bank[:2], queries, 4).shape == (7, 2)
