"""Effective rank against the paper's definition, and what counts as collapsed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.evaluation import spread
from supcon.evaluation.spread import are_equal, effective_rank, spread_metrics


def rank_me(x: Tensor) -> float:
    """RankMe as the paper writes it, from the SVD of the features."""
    s = np.linalg.svd(x.double().numpy(), compute_uv=False)
    p = s / np.abs(s).sum() + 1e-7
    return float(np.exp(-sum(p_k * np.log(p_k) for p_k in p)))


def features(n: int, d: int, decay: float, mean: float) -> Tensor:
    """Singular values that fall as a power, and a common part as after a ReLU."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator) * torch.arange(1, d + 1).pow(-decay)
    x = x @ torch.linalg.qr(torch.randn(d, d, generator=generator))[0]
    return x + mean * torch.rand(d, generator=generator)


@pytest.mark.parametrize(("n", "d"), [(300, 40), (40, 300), (64, 64), (1, 7), (7, 1), (5000, 8)])
@pytest.mark.parametrize("decay", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_the_effective_rank_is_that_of_the_paper(n: int, d: int, decay: float, mean: float) -> None:
    x = features(n, d, decay, mean)
    # Squaring loses singular values below 1e-8 of the largest; they count for little.
    assert effective_rank(x) == pytest.approx(max(1, rank_me(x)), rel=1e-4)


def test_a_gram_matrix_in_fp32_would_be_far_off() -> None:
    x = features(500, 300, 2.0, 0.0)
    s = torch.linalg.eigvalsh(x.T @ x).clamp(min=0).sqrt()
    p = s / s.sum() + 1e-7
    assert float(torch.exp(-(p * p.log()).sum())) > 1.005 * rank_me(x)
    assert effective_rank(x) == pytest.approx(rank_me(x), rel=1e-4)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (torch.ones(50, 16), 1.0),
        (torch.zeros(50, 16), 1.0),
        (torch.randn(50, 1) * torch.ones(16), 1.0),  # on a line through 0
        (torch.eye(16), 16.0),
        (torch.eye(16)[:5], 5.0),
        (3e30 * torch.eye(16).repeat(4, 1), 16.0),  # of any scale
        (1e-30 * torch.eye(16), 16.0),
    ],
)
def test_cases_that_are_known(x: Tensor, expected: float) -> None:
    assert effective_rank(x) == pytest.approx(expected, rel=1e-4)


def test_the_effective_rank_does_not_depend_on_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = features(100, 10, 1.0, 1.0)
    whole = effective_rank(x)
    monkeypatch.setattr(spread, "BLOCK", 7)
    assert effective_rank(x) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), (2, 3, 4)])
def test_what_is_no_matrix_of_features_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, D\), both at least 1, got"):
        effective_rank(torch.ones(shape))


def slowly_equal(x: Tensor, labels: Tensor) -> list[bool]:
    """Every pair of a class compared."""
    found = []
    for label in range(int(labels.max()) + 1):
        own = x[labels == label]
        pairs = [(a - b).abs().max() <= 1e-5 * x.abs().max() for a in own for b in own]
        found.append(len(own) > 1 and all(pairs))
    return found


@pytest.mark.parametrize("noise", [0.0, 3e-6, 3e-5])
def test_classes_with_equal_features_are_found_as_by_comparing_all_pairs(noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2, 4, 1, 0, 2, 0, 2, 1])  # 3 has no image, 4 a single one
    x = torch.randn(10, 6, generator=generator)
    x[labels == 1] = torch.randn(6, generator=generator)
    x += noise * (2 * torch.rand(10, 6, generator=generator) - 1)
    assert are_equal(x, labels).tolist() == slowly_equal(x, labels)
    assert are_equal(x, labels).tolist() == [False, noise < 1e-5, False, False, False]


@pytest.mark.parametrize(
    ("make", "collapsed", "classes"),
    [
        (lambda x, labels: x, 0, 0),
        (lambda x, labels: torch.full_like(x, 0.3), 1, 3),
        (lambda x, labels: torch.zeros_like(x), 1, 3),  # dead
        (lambda x, labels: x[labels], 0, 3),  # each class in a place of its own
        (lambda x, labels: torch.where(labels[:, None] == 2, x[0], x), 0, 1),
    ],
)
def test_collapse_is_told_of_all_images_and_of_classes(
    make: Callable[[Tensor, Tensor], Tensor], collapsed: int, classes: int
) -> None:
    labels = torch.arange(12) % 3
    x = make(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), labels)
    found = spread_metrics(x, labels)
    assert (found["collapsed"], found["collapsed_classes"]) == (collapsed, classes)
    assert found["effective_rank"] == effective_rank(x)
