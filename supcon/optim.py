"""Optimiser, parameter groups, and the learning rate as a pure function of progress."""

from __future__ import annotations

import math

import torch
from torch import nn

from supcon.config import OptimConfig


def build_optimizer(
    model: nn.Module, config: OptimConfig, batch_size: int
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; the learning rate scales linearly with the batch."""
    groups = parameter_groups(model, config.weight_decay)
    lr = config.lr_per_256 * batch_size / 256
    match config.name:
        case "sgd":
            return torch.optim.SGD(
                groups, lr=lr, momentum=config.momentum, nesterov=config.momentum > 0
            )
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups: matrices and kernels with weight decay, norms and biases (1-d) without."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def lr_factor(progress: float, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine down to 0.

    Args:
        progress: fraction of the run's steps done, in [0, 1].
        warmup: fraction of the run that rises, in [0, 1).
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def set_lr(optimizer: torch.optim.Optimizer, peak: float, factor: float) -> float:
    """Give all groups the learning rate peak * factor, and return it."""
    for group in optimizer.param_groups:
        group["lr"] = peak * factor
    return peak * factor
