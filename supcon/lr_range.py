"""Learning-rate range test (Smith 2015, arXiv:1506.01186), by torch-lr-finder.

A few steps at a learning rate that grows exponentially; the loss falls fastest a little below the
largest learning rate that still learns. Model and optimiser are as before afterwards.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader
from torch_lr_finder import LRFinder

from supcon.device import Autocast
from supcon.parsing import UserError

if TYPE_CHECKING:
    from supcon.train import Run

SKIPPED = 5  # first steps, in which the smoothed loss has not settled


@dataclass(frozen=True)
class RangeTest:
    """The loss, exponentially smoothed, at each learning rate that was tried."""

    lr: list[float]
    loss: list[float]

    @property
    def suggestion(self) -> float:
        """The learning rate at which the loss falls fastest; of equals the smallest.

        Raises:
            UserError: the loss ran away before enough learning rates were tried.
        """
        if len(self.loss) < SKIPPED + 2:
            raise UserError(
                f"learning-rate range test: the loss grew to five times its best, or beyond all "
                f"bounds, within {len(self.loss) + 1} steps; start lower"
            )
        slope = np.gradient(np.array(self.loss[SKIPPED:]))
        return self.lr[SKIPPED:][int(slope.argmin())]


def range_test(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Callable[[Tensor, Tensor], Tensor],
    loader: DataLoader[Any],
    *,
    lowest: float,
    highest: float,
    steps: int = 100,
    scaler: torch.amp.GradScaler | None = None,
) -> RangeTest:
    """Try learning rates from `lowest` to `highest`, and put everything back.

    Args:
        model: maps inputs to what `objective` takes; on the device to compute on.
        optimizer: of the model's parameters.
        objective: (outputs, labels) -> scalar loss.
        loader: (inputs, labels); started again when it runs out.
        lowest: first learning rate, > 0.
        highest: last learning rate; the test ends before if the loss grows to five times its best.
        steps: learning rates to try, at least 10.
        scaler: scales gradients in fp16; used up.
    """
    device, was_training = next(model.parameters()).device, model.training
    amp = {"device_type": device.type, "enabled": False}  # the model's own autocast, if any
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    finder = LRFinder(
        model, optimizer, objective, amp_backend="torch", amp_config=amp, grad_scaler=scaler
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
            stack.enter_context(redirect(io.StringIO()))  # its bar cannot be switched off
        finder.range_test(loader, start_lr=lowest, end_lr=highest, num_iter=steps)
    finder.reset()
    model.train(was_training)
    optimizer.zero_grad()
    losses = finder.history["loss"]
    finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    return RangeTest(finder.history["lr"][:finite], losses[:finite])


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

    def __init__(self, network: nn.Module, autocast: Autocast) -> None:
        super().__init__()
        self.network, self.autocast = network, autocast

    def forward(self, images: Tensor) -> Tensor:
        with self.autocast():
            outputs: Tensor = self.network(images)
        return outputs


def find_lr_per_256(run: Run, *, lowest: float, highest: float, steps: int) -> RangeTest:
    """Range test of a run's first epoch; learning rates are those for batch size 256."""
    factor = run.peak_lr / run.config.optim.lr_per_256
    is_scaled, clip_norm = run.scaler.is_enabled(), run.config.optim.clip_norm
    scaler = torch.amp.GradScaler(run.device.type, enabled=is_scaled)
    if clip_norm is not None:
        scaler = _ClippingScaler(run.device.type, enabled=is_scaled, clip_norm=clip_norm)
    found = range_test(
        _InAutocast(run.network, run.autocast),
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
    """A picture of the loss against the learning rate, with the suggestion marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.lr, test.loss)
    axes.axvline(test.suggestion, linestyle="--", label=f"falls fastest: {test.suggestion:.3g}")
    axes.set(xscale="log", xlabel=axis_label, ylabel="training loss, smoothed")
    axes.legend()
    figure.savefig(path, dpi=150)
