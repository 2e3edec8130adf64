"""Learning-rate range test (Smith 2015, arXiv:1506.01186), by torch-lr-finder.

A few steps at a learning rate that grows exponentially; the loss falls fastest a little below the
largest learning rate that still learns. Model and optimiser are as before afterwards. This is for
any model; `supcon.lr_find` is for that of a run.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch_lr_finder import LRFinder, TrainDataLoaderIter

from supcon.parsing import UserError

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
    batches: Iterable[tuple[Tensor, Tensor]],
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
        batches: (inputs, labels); started again when they run out.
        lowest: first learning rate, > 0.
        highest: last learning rate; the test ends before if the loss grows to five times its best.
        steps: learning rates to try, at least 10.
        scaler: scales gradients in fp16; used up.

    Returns:
        The learning rates up to the first loss that is not finite, fewer than `steps` if the test
        ended before.
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
        finder.range_test(
            TrainDataLoaderIter(batches), start_lr=lowest, end_lr=highest, num_iter=steps
        )
    finder.reset()
    model.train(was_training)
    optimizer.zero_grad()
    losses = finder.history["loss"]
    finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    return RangeTest(finder.history["lr"][:finite], losses[:finite])
