"""Linear probe (stage two): multinomial logistic regression on frozen, cached encoder features.

Features are standardised with the training features' statistics. The L2 penalty is chosen on val,
and the score is cross-fitted so that no image helps to choose the penalty it is scored with: the
penalty that is best on one half of val scores the other half, and the reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on standardised features."""

    mean: Tensor
    """(D,) subtracted from features."""
    std: Tensor
    """(D,) features are divided by."""
    weight: Tensor
    """(K, D)."""
    bias: Tensor
    """(K,)."""
    l2: float
    """The penalty it was trained with."""

    def predict(self, features: Tensor) -> Tensor:
        """(N, D) features -> (N,) class ids."""
        x = (features.to(self.weight) - self.mean) / self.std
        return F.linear(x, self.weight, self.bias).argmax(1)


def fit_probe(
    train_x: Tensor,
    train_y: Tensor,
    val_x: Tensor,
    val_y: Tensor,
    *,
    classes: int,
    penalties: Sequence[float],
    max_iter: int,
) -> tuple[float, LinearProbe]:
    """Train a probe for each penalty; score by cross-fitting on val.

    Args:
        train_x: (N, D) encoder features.
        train_y: (N,) class ids.
        val_x: (M, D).
        val_y: (M,).
        classes: number of classes K.
        penalties: L2 penalties, each > 0.
        max_iter: L-BFGS iterations for each penalty.

    Returns:
        The cross-fitted accuracy on val in [0, 1], and the probe whose penalty is best on all of
        val (ties: the stronger penalty).
    """
    x = train_x.double()  # L-BFGS line searches stall in fp32; cached features are small
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    x = (x - mean) / std
    start = torch.zeros(classes, x.shape[1] + 1, dtype=x.dtype, device=x.device)
    probes, correct = [], []
    for l2 in sorted(penalties, reverse=True):
        start = _minimise(x, train_y, l2=l2, start=start, max_iter=max_iter)  # warm start
        probes.append(LinearProbe(mean, std, start[:, :-1].clone(), start[:, -1].clone(), l2))
        correct.append(probes[-1].predict(val_x) == val_y)
    correct_LM = torch.stack(correct)
    return cross_fitted_accuracy(correct_LM, val_y), probes[_best(correct_LM)]


def cross_fitted_accuracy(correct_LM: Tensor, labels: Tensor) -> float:
    """Accuracy when either half of val is scored with the candidate that is best on the other half.

    Args:
        correct_LM: (L, M) bool, whether candidate l is right on image m.
        labels: (M,) class ids; the halves are stratified: a class's images go to them in turn.
    """
    half = _alternate_within_classes(labels)
    scored = torch.cat(
        [
            correct_LM[_best(correct_LM[:, ~half]), half],
            correct_LM[_best(correct_LM[:, half]), ~half],
        ]
    )
    return scored.double().mean().item()


def _best(correct_LM: Tensor) -> int:
    """The first row (the strongest penalty) with the most right answers."""
    counts = correct_LM.sum(1).tolist()
    return counts.index(max(counts))


def _alternate_within_classes(labels: Tensor) -> Tensor:
    """(M,) bool: every second image of each class."""
    rank = torch.empty_like(labels)
    order = labels.argsort(stable=True)
    rank[order] = torch.arange(len(labels), device=labels.device)
    return rank % 2 == 1


def _minimise(x: Tensor, y: Tensor, *, l2: float, start: Tensor, max_iter: int) -> Tensor:
    """Minimise mean cross entropy + l2 / 2 |W|^2 over (K, D + 1), whose last column is the bias."""
    theta = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=max_iter,
        tolerance_grad=1e-6,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        weight, bias = theta[:, :-1], theta[:, -1]
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return theta.detach()
