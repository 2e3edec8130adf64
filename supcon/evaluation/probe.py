"""Linear probe (stage two): a linear classifier on frozen, cached encoder features.

Features are standardised with the training features' statistics. `fit_probe` goes to the optimum of
multinomial logistic regression for each of a few L2 penalties; `fit_probe_by_sgd` trains for some
epochs, as the published recipes do, and keeps EMA and SWA of the weights. Either way the candidate
is chosen on val, and the score is cross-fitted so that no image helps to choose the candidate it is
scored with: the one that is best on one half of val scores the other half, and the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supcon.config import AverageConfig
from supcon.evaluation.logistic import minimise
from supcon.recipe.averaging import Averages
from supcon.recipe.losses import cross_entropy
from supcon.recipe.optim import lr_factor, set_lr


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
    candidate: str
    """What was chosen on val: the penalty (lbfgs), or raw, ema or swa (sgd)."""

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) features -> (N, K)."""
        x = (features.to(self.weight) - self.mean) / self.std
        return F.linear(x, self.weight, self.bias)

    def predict(self, features: Tensor) -> Tensor:
        """(N, D) features -> (N,) class ids."""
        return self.logits(features).argmax(1)


@dataclass(frozen=True)
class Fitted:
    """A probe and what it is worth."""

    top1: float
    """Cross-fitted accuracy on val, in [0, 1]."""
    probe: LinearProbe
    """The candidate that is best on all of val (ties: the first)."""
    predictions: Tensor
    """(M,) class ids of the val images, cross-fitted."""


def fit_probe(
    train_x: Tensor,
    train_y: Tensor,
    val_x: Tensor,
    val_y: Tensor,
    *,
    classes: int,
    penalties: Sequence[float],
    max_iter: int,
    balanced: bool = False,
) -> Fitted:
    """Logistic regression for each penalty by L-BFGS, the strongest first.

    Args:
        train_x: (N, D) encoder features.
        train_y: (N,) class ids.
        val_x: (M, D).
        val_y: (M,).
        classes: number of classes K.
        penalties: L2 penalties, each > 0.
        max_iter: L-BFGS iterations for each penalty.
        balanced: choose by balanced accuracy.

    Returns:
        The penalty that is best on val, in fp64.
    """
    probes = logistic_regressions(
        train_x, train_y, classes=classes, penalties=penalties, max_iter=max_iter
    )
    return _choose(probes, val_x, val_y, balanced=balanced)


def logistic_regressions(
    train_x: Tensor, train_y: Tensor, *, classes: int, penalties: Sequence[float], max_iter: int
) -> list[LinearProbe]:
    """One for each penalty, the strongest first, in fp64; arguments as of `fit_probe`."""
    mean, std = _statistics(train_x)
    x, axes = _along_principal_axes((train_x.float() - mean) / std)
    x = F.pad(x, (0, 1), value=1)
    weights = torch.zeros(classes, x.shape[1], device=x.device)
    probes = []
    for l2 in sorted(penalties, reverse=True):
        penalty = torch.full_like(weights[0], l2)
        penalty[-1] = 0  # of the bias
        weights = minimise(x, train_y, penalty, weights, max_iter)  # from the last solution on
        weight, bias = weights[:, :-1].double() @ axes.T.double(), weights[:, -1].double()
        probes.append(LinearProbe(mean.double(), std.double(), weight, bias, f"{l2:g}"))
    return probes


def fit_probe_by_sgd(
    train_x: Tensor,
    train_y: Tensor,
    val_x: Tensor,
    val_y: Tensor,
    *,
    classes: int,
    epochs: int,
    batch_size: int,
    lr: float | None,
    label_smoothing: float,
    average: AverageConfig,
    seed: int,
    balanced: bool = False,
) -> Fitted:
    """SGD with Nesterov momentum 0.9, a cosine schedule and no weight decay.

    Args:
        train_x: (N, D) encoder features.
        train_y: (N,) class ids.
        val_x: (M, D).
        val_y: (M,).
        classes: number of classes K.
        epochs: passes over the features.
        batch_size: features a step.
        lr: peak learning rate; None: found by a range test on the training features.
        label_smoothing: weight of the uniform target.
        average: EMA and SWA of the weights, which are candidates beside the raw ones.
        seed: of the order of features.
        balanced: choose by balanced accuracy.

    Returns:
        Raw, EMA or SWA weights, those that are best on val, in fp32.

    Raises:
        UserError: the range test ran away at once.
    """
    mean, std = _statistics(train_x)
    batches = _Batches((train_x - mean) / std, train_y, min(batch_size, len(train_x)), seed)
    linear = nn.Linear(train_x.shape[1], classes, device=train_x.device)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    averages = Averages(linear, average, len(batches))
    objective = partial(cross_entropy, label_smoothing=label_smoothing)
    _descend(linear, batches, objective, averages, epochs=epochs, lr=lr)
    probes = [
        LinearProbe(mean, std, net.weight.detach(), net.bias.detach(), name)
        for name, net in averages.final(linear).items()
        if isinstance(net, nn.Linear)
    ]
    return _choose(probes, val_x, val_y, balanced=balanced)


def cross_fit(correct_LM: Tensor, labels: Tensor, *, balanced: bool = False) -> Tensor:
    """The candidate that each image of val is scored with: the best one on the other half.

    Args:
        correct_LM: (L, M) bool, whether candidate l is right on image m.
        labels: (M,) class ids; the halves are stratified: a class's images go to them in turn.
        balanced: the best one is that with the highest balanced accuracy.

    Returns:
        (M,) indices of candidates; ties go to the first.
    """
    half = _alternate_within_classes(labels)
    by_half, by_other = (
        _best(correct_LM, labels, among, balanced=balanced) for among in (half, ~half)
    )
    return torch.where(half, by_other, by_half)


def _descend(
    linear: nn.Linear,
    batches: _Batches,
    objective: Callable[[Tensor, Tensor], Tensor],
    averages: Averages,
    *,
    epochs: int,
    lr: float | None,
) -> None:
    optimizer = torch.optim.SGD(linear.parameters(), lr=1.0, momentum=0.9, nesterov=True)
    if lr is None:
        from supcon.recipe.lr_range import range_test  # loads matplotlib, which few runs need

        lr = range_test(linear, optimizer, objective, batches, lowest=1e-4, highest=10).suggestion
    for epoch in range(epochs):
        for step, (x, y) in enumerate(batches):
            progress = (epoch * len(batches) + step + 0.5) / (epochs * len(batches))
            set_lr(optimizer, lr, lr_factor(progress, schedule="cosine", warmup=0, decay=0))
            with torch.enable_grad():
                objective(linear(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            averages.after_step(linear)
        averages.after_epoch(linear, (epoch + 1) / epochs)


class _Batches:
    """Features and labels in a new random order each time, drawn at once: no batch waits for it."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, seed: int) -> None:
        self.x, self.y, self.batch_size = x, y, batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.x) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.x), generator=self.generator).to(self.x.device)
        for chosen in order.split(self.batch_size)[: len(self)]:
            yield self.x[chosen], self.y[chosen]


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature (D,); summed in fp64, rounded to fp32."""
    std, mean = torch.std_mean(x.double(), 0)
    return mean.float(), std.clamp(min=1e-6).float()


def _along_principal_axes(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) features along their P = min(N, D) principal axes, (N, P), and these axes, (D, P).

    There L-BFGS needs a half to a third of the iterations.
    """
    if len(x) >= x.shape[1]:
        axes = _eigenvectors(x.T @ x / len(x))
        return x @ axes, axes
    basis = torch.linalg.qr(x.T).Q  # of all that the features span
    inner, axes = _along_principal_axes(x @ basis)
    return inner, basis @ axes


def _eigenvectors(gram: Tensor) -> Tensor:
    """Of a symmetric matrix. Where most features are dead, fp32 does not always converge."""
    try:
        return torch.linalg.eigh(gram).eigenvectors
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return torch.linalg.eigh(gram.double()).eigenvectors.float()


def _choose(
    probes: Sequence[LinearProbe], val_x: Tensor, val_y: Tensor, *, balanced: bool
) -> Fitted:
    predictions_LM = torch.stack([probe.predict(val_x) for probe in probes])
    correct_LM = predictions_LM == val_y
    chosen_M = cross_fit(correct_LM, val_y, balanced=balanced)
    predictions = predictions_LM.gather(0, chosen_M[None])[0]
    top1 = (predictions == val_y).double().mean().item()
    best = _best(correct_LM, val_y, torch.ones_like(correct_LM[0]), balanced=balanced)
    return Fitted(top1, probes[int(best.item())], predictions)


def _best(correct_LM: Tensor, labels: Tensor, among: Tensor, *, balanced: bool) -> Tensor:
    """The first row with the most right answers, or with the highest balanced accuracy.

    `among` is (M,) bool: the images that count. All stays on the device.
    """
    right_LM = correct_LM & among
    if not balanced:
        return right_LM.sum(1).argmax()
    counts_K = torch.zeros_like(labels.bincount(), dtype=torch.float64)
    right_LK = counts_K.repeat(len(correct_LM), 1).index_add(1, labels, right_LM.double())
    counts_K.index_add_(0, labels, among.double())
    return (right_LK / counts_K.clamp(min=1)).sum(1).argmax()


def _alternate_within_classes(labels: Tensor) -> Tensor:
    """(M,) bool: every second image of each class."""
    rank = torch.empty_like(labels)
    order = labels.argsort(stable=True)
    rank[order] = torch.arange(len(labels), device=labels.device)
    return rank % 2 == 1
