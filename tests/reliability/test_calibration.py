"""Temperatures, calibration error and likelihood, against slow searches and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supcon.reliability.calibration import (
    calibration_error,
    fit_temperature,
    nll,
    probabilities,
    share_logits,
)


def labelled_logits(
    scale: float, n: int = 4000, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `scale` times too large for the labels, which are drawn by them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 5, generator=generator, dtype=torch.float64) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits * scale, labels


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_what_logits_were_multiplied_by(scale: float) -> None:
    logits, labels = labelled_logits(scale)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.06)


def test_no_other_temperature_has_less_cross_entropy() -> None:
    logits, labels = labelled_logits(2.5, n=300)
    found, doubt = fit_temperature(logits, labels), 1 / 302
    losses = {
        t: F.cross_entropy(logits / t, labels, label_smoothing=doubt).item()
        for t in [found, *np.geomspace(0.01, 100, 400).tolist()]
    }
    assert min(losses, key=lambda t: losses[t]) == pytest.approx(found, rel=0.03)
    assert losses[found] <= min(losses.values()) + 1e-7


def test_where_all_are_right_probabilities_stay_below_1() -> None:
    logits = torch.eye(4, dtype=torch.float64).repeat(25, 1) * 10
    t = fit_temperature(logits, torch.arange(4).repeat(25))
    sure = probabilities(logits, t).max().item()
    assert sure == pytest.approx(1 - 1 / 102, abs=0.004)


def test_without_images_logits_are_left_as_they_are() -> None:
    assert fit_temperature(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)) == 1


def test_calibration_error_equals_a_slow_loop() -> None:
    logits, labels = labelled_logits(3.0, n=1000)
    p, y = logits.softmax(1).numpy(), labels.numpy()
    order = sorted(range(len(y)), key=lambda i: (p[i].max(), i))
    size, total = len(y) / 15, 0.0
    edges = [len(part) for part in np.array_split(np.arange(len(y)), 15)]
    assert max(edges) - min(edges) <= 1
    assert size == pytest.approx(np.mean(edges))
    start = 0
    for length in edges:
        own = order[start : start + length]
        right = np.mean([p[i].argmax() == y[i] for i in own])
        total += abs(right - np.mean([p[i].max() for i in own])) * length / len(y)
        start += length
    assert calibration_error(p, y) == pytest.approx(total)
    assert calibration_error(probabilities(logits, 3.0).numpy(), y) < total / 3


def test_a_class_without_a_vote_is_improbable_and_not_impossible() -> None:
    votes = torch.tensor([[3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    p = probabilities(share_logits(votes), 1.0)
    assert p.sum(1).tolist() == pytest.approx([1, 1])
    assert p[0].tolist() == pytest.approx([0.749, 0.25, 0.00025, 0.00025], abs=6e-4)
    assert (p > 0).all()


def test_nll_equals_a_slow_loop_and_is_finite_where_the_right_class_seems_impossible() -> None:
    logits, labels = labelled_logits(3.0, n=50)
    logits[0] = torch.tensor([0.0, 0.0, 0.0, 0.0, 2000.0])
    labels[0] = 0
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        highest = max(row)
        total -= row[label] / 2 - highest / 2
        total += np.log(sum(np.exp(x / 2 - highest / 2) for x in row))
    assert nll(logits, labels, 2.0) == pytest.approx(total / 50)
    assert nll(logits[:0], labels[:0]) == 0
