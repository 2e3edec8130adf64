"""The linear probe against scikit-learn, and cross-fitting against a slow loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from supcon.probe import LinearProbe, cross_fitted_accuracy, fit_probe

Clouds = tuple[Tensor, Tensor, Tensor, Tensor]


def clouds(n: int = 90, *, spread: float, seed: int = 0) -> Clouds:
    """Train and val points of three classes around three centres, in features of unlike scale."""
    rng = np.random.default_rng(seed)
    centres, scale = rng.normal(size=(3, 5)), np.array([1, 10, 0.1, 1, 3])
    parts: list[Tensor] = []
    for _ in range(2):
        labels = np.arange(n) % 3
        points = (centres[labels] + spread * rng.normal(size=(n, 5))) * scale + 2
        parts += [torch.tensor(points, dtype=torch.float32), torch.tensor(labels)]
    return parts[0], parts[1], parts[2], parts[3]


def fit(data: Clouds, penalties: Sequence[float]) -> tuple[float, LinearProbe]:
    return fit_probe(*data, classes=3, penalties=penalties, max_iter=200)


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-4])
def test_probe_agrees_with_scikit_learn(l2: float) -> None:
    train_x, train_y, val_x, val_y = data = clouds(spread=1.5)
    score, probe = fit(data, [l2])

    x = train_x.double().numpy()
    mean, std = x.mean(0), x.std(0, ddof=1)
    # It minimises C * sum of losses + |w|^2 / 2; ours is mean of losses + l2 / 2 * |w|^2.
    theirs = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-10, max_iter=10_000)
    theirs.fit((x - mean) / std, train_y.numpy())
    np.testing.assert_allclose(probe.weight.numpy(), theirs.coef_, rtol=1e-3, atol=1e-4)
    # A constant added to all biases changes nothing.
    bias = probe.bias.numpy() - probe.bias.numpy().mean()
    np.testing.assert_allclose(
        bias, theirs.intercept_ - theirs.intercept_.mean(), rtol=1e-3, atol=1e-4
    )
    predicted = theirs.predict((val_x.double().numpy() - mean) / std)
    assert probe.predict(val_x).tolist() == predicted.tolist()
    assert score == (predicted == val_y.numpy()).mean()


def test_each_penalty_gets_the_optimum_of_its_own() -> None:
    # Penalties are solved one after the other, each from the last one's solution.
    data = clouds(spread=1.5)
    val_x, val_y = data[2], data[3]
    alone = [fit(data, [l2]) for l2 in (1.0, 1e-2, 1e-4)]
    _, together = fit(data, [1e-4, 1.0, 1e-2])
    (same,) = (probe for _, probe in alone if probe.l2 == together.l2)
    torch.testing.assert_close(together.weight, same.weight, rtol=1e-3, atol=1e-4)
    best = max((probe.predict(val_x) == val_y).sum() for _, probe in alone)
    assert (together.predict(val_x) == val_y).sum() == best


def test_separable_classes_are_told_apart_and_ties_go_to_the_stronger_penalty() -> None:
    score, probe = fit(clouds(spread=0.01), [1e-4, 1e-2, 1e-3])
    assert score == 1
    assert probe.l2 == 1e-2


def test_probe_does_not_care_for_the_scale_of_features() -> None:
    train_x, train_y, val_x, val_y = clouds(spread=1.5)
    _, plain = fit((train_x, train_y, val_x, val_y), [1e-2])
    _, scaled = fit((train_x * 1000 - 7, train_y, val_x * 1000 - 7, val_y), [1e-2])
    assert torch.equal(scaled.predict(val_x * 1000 - 7), plain.predict(val_x))
    torch.testing.assert_close(scaled.weight, plain.weight, rtol=1e-3, atol=1e-4)


def test_a_feature_that_never_changes_does_no_harm() -> None:
    train_x, train_y, val_x, val_y = clouds(spread=0.01)
    dead = torch.zeros(len(train_x), 1)
    train_x, val_x = torch.cat([train_x, dead], 1), torch.cat([val_x, dead], 1)
    score, probe = fit((train_x, train_y, val_x, val_y), [1e-2])
    assert score == 1
    assert probe.weight.isfinite().all()


def test_a_probe_without_a_gradient_context_still_learns() -> None:
    with torch.no_grad():
        score, _ = fit(clouds(spread=0.01), [1e-2])
    assert score == 1


def slow_cross_fit(correct: list[list[bool]], labels: list[int]) -> float:
    """Halves: a class's images in turn. Each half is scored by what is best on the other."""
    turn: dict[int, int] = {}
    half = []
    for label in labels:
        turn[label] = turn.get(label, 0) + 1
        half.append(turn[label] % 2)
    right = 0
    for mine in (0, 1):
        counts = [sum(row[m] for m in range(len(labels)) if half[m] != mine) for row in correct]
        chosen = correct[counts.index(max(counts))]
        right += sum(chosen[m] for m in range(len(labels)) if half[m] == mine)
    return right / len(labels)


@pytest.mark.parametrize("seed", range(5))
def test_cross_fitted_accuracy_equals_a_slow_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (20,), generator=generator)
    # An even number of images a class: the slow loop and ours may name the halves differently.
    labels = torch.cat([labels, labels])[torch.randperm(40, generator=generator)]
    correct = torch.rand(4, 40, generator=generator) < 0.6
    expected = slow_cross_fit(correct.tolist(), labels.tolist())
    assert cross_fitted_accuracy(correct, labels) == pytest.approx(expected, abs=1e-12)


def test_no_image_helps_to_choose_the_penalty_it_is_scored_with() -> None:
    # Each candidate is right on one half only, so the best on a half is wrong on the other.
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    first = torch.tensor([True, False, True, False, True, False])
    assert cross_fitted_accuracy(torch.stack([first, ~first]), labels) == 0


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]])
def test_either_half_has_every_second_image_of_a_class(labels: list[int]) -> None:
    y = torch.tensor(labels)
    # Right on class 0 or on class 1: stratified halves agree that it is a tie, and the first wins.
    correct = torch.stack([y == 0, y == 1])
    assert cross_fitted_accuracy(correct, y) == 0.5
    # The second candidate is better by one image a half.
    better = correct.clone()
    better[1, (y == 0).nonzero()[:2]] = True
    assert cross_fitted_accuracy(better, y) == 0.75


def test_ties_of_candidates_go_to_the_first() -> None:
    labels = torch.tensor([0, 0, 0, 0])
    equal = torch.tensor([[True, True, False, False], [False, False, True, True]])
    assert cross_fitted_accuracy(equal, labels) == 0.5
    assert cross_fitted_accuracy(torch.stack([equal[0], equal[0]]), labels) == 0.5
    # On either half candidates 0 and 1 tie; where 0 is right all along, that must be what counts.
    right = torch.tensor([[True, True, True, True], [True, True, True, True], [False] * 4])
    assert cross_fitted_accuracy(right, labels) == 1


def test_a_single_candidate_is_scored_by_its_accuracy() -> None:
    correct = torch.tensor([[True, False, True, True, False]])
    assert cross_fitted_accuracy(correct, torch.tensor([0, 1, 0, 1, 2])) == pytest.approx(0.6)
