"""Each number against its paper's definition, and what counts as collapsed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.collapse import GEOMETRY
from supcon.evaluation import spread
from supcon.evaluation.spread import (
    are_equal,
    effective_rank,
    geometry_metrics,
    spread_metrics,
    uniformity,
)


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


def unequal(n: int, d: int) -> tuple[Tensor, Tensor]:
    """Features with a common part, of classes of unequal size; 5 has one image and 3 has none."""
    labels = torch.arange(n).square() % 5
    labels[labels == 3], labels[0] = 0, 5
    return features(n, d, 0.5, 2.0) + torch.eye(6, d)[labels], labels


def squared_distances(x: Tensor) -> list[list[float]]:
    unit = [[float(v) / float(row.double().norm()) for v in row] for row in x]
    return [[sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) for b in unit] for a in unit]


def slow_alignment(x: Tensor, labels: Tensor) -> float:
    """Mean over images of the mean over the others of its class."""
    distance, means = squared_distances(x), []
    for i in range(len(x)):
        own = [distance[i][j] for j in range(len(x)) if j != i and labels[j] == labels[i]]
        means += [sum(own) / len(own)] if own else []
    return sum(means) / len(means)


def slow_uniformity(x: Tensor) -> float:
    distance, n = squared_distances(x), len(x)
    pairs = [math.exp(-2 * distance[i][j]) for i in range(n) for j in range(i)]
    return math.log(sum(pairs) / len(pairs))


def slow_neural_collapse(x: Tensor, labels: Tensor) -> dict[str, float]:
    """By the covariance matrices of the paper."""
    z, y = x.double().numpy(), labels.numpy()
    classes = [c for c in np.unique(y) if (y == c).sum() > 1]
    means = np.stack([z[y == c].mean(0) for c in classes])
    within = np.mean([np.cov(z[y == c].T, bias=True) for c in classes], axis=0)
    between = np.cov(means.T, bias=True)
    centred = means - means.mean(0)
    lengths = [float(np.sqrt(v @ v)) for v in centred]
    k = len(classes)
    off = [
        abs(centred[a] @ centred[b] / lengths[a] / lengths[b] + 1 / (k - 1))
        for a in range(k)
        for b in range(a)
    ]
    return {
        "nc1": float(np.trace(within) / np.trace(between)),
        "nc2_norms": float(np.std(lengths) / np.mean(lengths)),
        "nc2_angles": float(np.mean(off)),
    }


@pytest.mark.parametrize(("n", "d"), [(60, 12), (25, 40)])
def test_geometry_is_that_of_slow_loops_over_all_pairs(
    n: int, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = unequal(n, d)
    expected = {"alignment": slow_alignment(x, labels), "uniformity": slow_uniformity(x)}
    expected |= slow_neural_collapse(x, labels)
    assert geometry_metrics(x, labels) == pytest.approx(expected, rel=1e-6)
    assert list(expected) == list(GEOMETRY)
    monkeypatch.setattr(spread, "BLOCK", 7)
    assert geometry_metrics(x, labels) == pytest.approx(expected, rel=1e-6)


def simplex(k: int) -> Tensor:
    """(k, k) corners of a regular simplex on the sphere."""
    centred = torch.eye(k) - 1 / k
    return centred / centred.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_classes_that_are_corners_of_a_simplex_have_collapsed_as_far_as_they_can(k: int) -> None:
    labels = torch.arange(6 * k) % k
    found = geometry_metrics(3 * simplex(k)[labels] + 5, labels)  # anywhere, of any size
    for name in ("nc1", "nc2_norms", "nc2_angles"):
        assert found[name] == pytest.approx(0, abs=1e-6), name
    found = geometry_metrics(simplex(k)[labels], labels)
    assert found["alignment"] == pytest.approx(0, abs=1e-6)
    same, n = 5 / (6 * k - 1), 2 * k / (k - 1)  # share of pairs of a class, d^2 between two
    assert found["uniformity"] == pytest.approx(math.log(same + (1 - same) * math.exp(-2 * n)))


def test_orthogonal_features_have_a_known_geometry() -> None:
    labels = torch.arange(40) % 4
    found = geometry_metrics(7 * torch.eye(40), labels)  # each in a direction of its own
    assert found["alignment"] == pytest.approx(2)
    assert found["uniformity"] == pytest.approx(-4)
    # Of 10 orthogonal features: variance 49 (1 - 1 / 10) within, 49 (1 / 10 - 1 / 40) between.
    assert found["nc1"] == pytest.approx(0.9 / 0.075)
    assert found["nc2_angles"] == pytest.approx(0, abs=1e-6)
    opposite = torch.tensor([[1.0, 0], [-1, 0]]).repeat(10, 1)
    found = geometry_metrics(opposite, torch.zeros(20, dtype=torch.long))
    assert found["alignment"] == pytest.approx(4 * 10 / 19)


def test_random_directions_spread_as_theory_says() -> None:
    d = 256
    x = torch.randn(1500, d, generator=torch.Generator().manual_seed(0))
    # 4 cos is nearly normal with variance 16 / d.
    assert uniformity(x).item() == pytest.approx(-4 + 8 / d, abs=2e-3)
    found = geometry_metrics(x, torch.arange(1500) % 10)
    assert found["alignment"] == pytest.approx(2, abs=0.01)
    assert found["nc1"] == pytest.approx(149 / 0.9, rel=0.1)  # means differ by chance alone


def test_what_is_not_defined_is_left_out() -> None:
    labels = torch.arange(12) % 3
    none = pytest.approx({"alignment": 0, "uniformity": 0}, abs=1e-6)
    for same in (torch.full((12, 5), 0.3), torch.zeros(12, 5)):
        assert geometry_metrics(same, labels) == none
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    assert set(geometry_metrics(x, torch.arange(12))) == {"uniformity"}
    assert set(geometry_metrics(x, torch.zeros_like(labels))) == {"alignment", "uniformity"}
    assert geometry_metrics(x[:1], labels[:1]) == {}
    one_pair = geometry_metrics(x, torch.arange(12).clamp(max=10))
    assert set(one_pair) == {"alignment", "uniformity"}


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_geometry_does_not_depend_on_the_size_of_features(scale: float) -> None:
    x, labels = unequal(30, 8)
    expected = geometry_metrics(x, labels)
    assert geometry_metrics(scale * x, labels) == pytest.approx(expected, rel=1e-5)


def test_of_many_images_uniformity_is_that_of_some_which_are_always_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, _ = unequal(3000, 16)
    monkeypatch.setattr(spread, "MOST", 3000)
    whole = uniformity(x).item()
    monkeypatch.undo()
    assert uniformity(x).item() == uniformity(x.clone()).item() != whole
    assert uniformity(x).item() == pytest.approx(whole, abs=0.03)
