"""A step as a GPU would see it: it waits for no result, and consists of few calls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.config import Config, override
from supcon.images.split import Split, Splits
from supcon.recipe.optim import set_lr
from supcon.train import Run
from tests.waiting import Calls, Waits

EVERYTHING = {"augment.rotation": 20.0, "augment.blur": 0.5, "augment.cutout": 0.3}


def photos(size: int, n: int = 96) -> Splits:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    split = Split(pixels, np.arange(n) % 4)
    return Splits(split, split.take(np.arange(20)), ("a", "b", "c", "d"))


def run_of(tiny: Config, changes: dict[str, Any], size: int = 16) -> Run:
    # Not `digits`, whose policy has no colours.
    fixed = {"data.name": "cifar10", "data.batch_size": 16, "data.pipeline": "resident"}
    run = Run(override(tiny, fixed | changes), photos(size))
    run.network.train()
    return run


def steps(run: Run, mode: Waits | Calls) -> None:
    """Two steps under watch, after two that are not."""
    batches = iter(run.loader(epoch=1))

    def step(images: Tensor, labels: Tensor) -> None:
        set_lr(run.optimizer, run.peak_lr, run._lr_factor())
        run.step(images, labels)

    for batch in islice(batches, 2):
        step(*batch)
    with mode:
        for batch in islice(batches, 2):
            step(*batch)


@pytest.mark.parametrize("loss", ["supcon", "sincere", "simclr", "ce"])
@pytest.mark.parametrize("augment", [{}, EVERYTHING], ids=["usual", "everything"])
def test_a_step_waits_for_nothing(tiny: Config, loss: str, augment: dict[str, float]) -> None:
    waits = Waits()
    steps(run_of(tiny, {"loss.name": loss} | augment), waits)
    assert not waits.found


@pytest.mark.parametrize(
    "changes",
    [
        {"data.pipeline": "streaming"},
        {"data.sampler": "balanced"},
        {"loss.name": "ce", "loss.logit_adjustment": 1.0, "loss.label_smoothing": 0.1},
        {"optim.clip_norm": 1.0},
        {"optim.name": "adamw", "run.precision": "bf16"},
        {"run.precision": "fp16", "optim.clip_norm": 1.0},
    ],
    ids=str,
)
def test_nor_does_it_with_other_settings(tiny: Config, changes: dict[str, Any]) -> None:
    waits = Waits()
    steps(run_of(tiny, changes), waits)
    assert not waits.found


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.argsort().tolist(),
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x[[0, 1]],
        lambda x: x.nonzero(),
        lambda x: torch.tensor([1.0], device=x.device) * x,
        lambda x: x.cpu().numpy(),
    ],
)
def test_a_wait_would_be_seen(
    tiny: Config, monkeypatch: pytest.MonkeyPatch, wait: Callable[[Tensor], object]
) -> None:
    # What is noted is for whom it was called: here, for the test itself.
    monkeypatch.setattr("tests.waiting.OURS", __file__)
    run, waits = run_of(tiny, {}), Waits()
    loss = run.loss

    def waiting(outputs: Tensor, labels: Tensor) -> Tensor:
        wait(outputs.detach()[:, 0])
        return loss(outputs, labels)

    run.loss = waiting
    steps(run, waits)
    assert sum(waits.found.values()) >= 2


def test_a_step_is_a_few_calls(tiny: Config) -> None:
    # A GPU runs a small one faster than Python makes the next. Of the step of resnet18, 197 are the
    # network's own; augmentation was 127.
    run = run_of(tiny, {"model.backbone": "resnet18", "model.stem": "small"}, size=32)
    batches = iter(run.loader(epoch=1))
    next(batches)
    with Calls() as augmentation:
        images, labels = next(batches)
    with Calls() as rest:
        run.step(images, labels)
    assert augmentation.made.total() <= 50
    assert rest.made.total() <= 240
