"""Learning-rate range test of a run, under its own conditions, and a picture of any such test.

`python -m supcon lr-find`: the run's batches, precision and clipping, and learning rates as its
config states them, for a batch of 256.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from supcon.network.device import Autocast
from supcon.recipe.lr_range import RangeTest, range_test
from supcon.train import Run


def find_lr_per_256(run: Run, *, lowest: float, highest: float, steps: int) -> RangeTest:
    """Range test of a run on the batches of its first epoch; the run is as before afterwards.

    Args:
        run: one that has not begun.
        lowest: first `optim.lr_per_256`, > 0.
        highest: last `optim.lr_per_256`, unless the test ends before.
        steps: learning rates to try, at least 10.

    Returns:
        The losses at each `optim.lr_per_256`.
    """
    factor = run.peak_lr / run.config.optim.lr_per_256
    is_scaled, clip_norm = run.scaler.is_enabled(), run.config.optim.clip_norm
    scaler = torch.amp.GradScaler(run.device.type, enabled=is_scaled)
    if clip_norm is not None:
        scaler = _ClippingScaler(run.device.type, enabled=is_scaled, clip_norm=clip_norm)
    found = range_test(
        _InAutocast(run.network, run.forward, run.autocast),
        run.optimizer,
        run.loss,
        run.loader(epoch=1),
        lowest=lowest * factor,
        highest=highest * factor,
        steps=steps,
        scaler=scaler,
    )
    return RangeTest([lr / factor for lr in found.lr], found.loss)


def draw(test: RangeTest, axis_label: str, path: Path) -> None:
    """A picture of the loss against the learning rate, with the suggestion marked.

    Args:
        test: what was found.
        axis_label: what its learning rates are.
        path: of the picture, a PNG.

    Raises:
        UserError: the loss ran away before there was a suggestion.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.lr, test.loss)
    axes.axvline(test.suggestion, linestyle="--", label=f"falls fastest: {test.suggestion:.3g}")
    axes.set(xscale="log", xlabel=axis_label, ylabel="training loss, smoothed")
    axes.legend()
    figure.savefig(path, dpi=150)


class _ClippingScaler(torch.amp.GradScaler):
    """Clips the true gradient before each step, as training does."""

    def __init__(self, device: str, *, enabled: bool, clip_norm: float) -> None:
        super().__init__(device, enabled=enabled)
        self.clip_norm = clip_norm

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> float | None:
        self.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        clip_grad_norm_(parameters, self.clip_norm)
        return super().step(optimizer, *args, **kwargs)


class _InAutocast(nn.Module):
    """A network whose forward pass runs in the precision of training, its loss outside of it."""

    def __init__(
        self, network: nn.Module, embed: Callable[[Tensor], Tensor], autocast: Autocast
    ) -> None:
        super().__init__()
        self.network, self.embed, self.autocast = network, embed, autocast

    def forward(self, images: Tensor) -> Tensor:
        with self.autocast():
            outputs = self.embed(images)
        return outputs
