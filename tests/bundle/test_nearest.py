"""Neighbours and their votes, against slow loops and the kNN of evaluation."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.bundle import nearest
from supcon.bundle.nearest import TIES, ExactSearch, Near, distance, vote
from supcon.evaluation.knn import knn_predict
from tests.bundled import gallery_of

CPU = torch.device("cpu")


@pytest.fixture
def points() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(n, 8, generator=generator) for n in (90, 40))
    bank[50:60] = bank[40:50] * 3  # the same directions
    return bank, torch.randint(0, 4, (90,), generator=generator), queries


@pytest.mark.parametrize("block", [2**26, 90 * 7])
def test_neighbours_equal_a_slow_loop(points: tuple[Tensor, Tensor, Tensor], block: int) -> None:
    bank, _, queries = points
    with mock.patch.object(nearest, "BLOCK", block):
        near = ExactSearch(gallery_of(bank), CPU)(queries, 5)
    for q, cosines, places in zip(queries, near.cosines, near.places, strict=True):
        slow = [(float(q @ b / q.norm() / b.norm()), i) for i, b in enumerate(bank)]
        assert cosines.tolist() == pytest.approx(sorted((c for c, _ in slow), reverse=True)[:5])
        assert [slow[i][0] for i in places.tolist()] == pytest.approx(cosines.tolist())
        assert len(set(places.tolist())) == 5


@pytest.mark.parametrize("k", [1, 3, 20, 500])
def test_votes_are_those_of_evaluation(points: tuple[Tensor, Tensor, Tensor], k: int) -> None:
    bank, labels, queries = points
    near = ExactSearch(gallery_of(bank), CPU)(queries, k + TIES)
    votes = vote(near, labels, classes=4, k=k, temperature=0.1)
    (expected,) = knn_predict(bank, labels, queries, classes=4, ks=[k], temperature=0.1)
    assert votes.argmax(1).tolist() == expected.tolist()


def test_all_that_are_as_near_as_the_last_one_vote() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 2, 2])
    near = ExactSearch(gallery_of(bank), CPU)(torch.tensor([[1.0, 0.0]]), 2 + TIES)
    (votes,) = vote(near, labels, classes=3, k=2, temperature=1.0).tolist()
    assert votes == pytest.approx([1, np.exp(-1), 2 * np.exp(-1)])


def test_distance_is_that_of_the_kth_and_of_the_last_where_there_are_fewer() -> None:
    near = Near(torch.tensor([[0.9, 0.5, -1.0]]), torch.tensor([[0, 1, 2]]))
    assert [distance(near, k).item() for k in (1, 2, 3, 9)] == pytest.approx([0.1, 0.5, 2, 2])


def test_an_image_is_left_out_of_its_own_neighbours(points: tuple[Tensor, Tensor, Tensor]) -> None:
    bank, _, _ = points
    search, own = ExactSearch(gallery_of(bank), CPU), torch.arange(40, 60)
    near = search(bank[own], 6).without(own)
    assert near.places.shape == (20, 5)
    for i, places in zip(own.tolist(), near.places.tolist(), strict=True):
        assert i not in places
        assert places[0] == (i + 10 if i < 50 else i - 10)  # its twin is there


def test_an_image_among_more_equals_than_are_looked_at_costs_one_neighbour() -> None:
    near = ExactSearch(gallery_of(torch.ones(9, 2)), CPU)(torch.ones(1, 2), 4)
    absent = next(i for i in range(9) if i not in near.places[0].tolist())
    assert near.without(torch.tensor([absent])).places.shape == (1, 3)
