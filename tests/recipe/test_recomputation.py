"""Gradients of recomputed activations against those of all activations at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supcon.config import Config, override
from supcon.images.split import Split, Splits
from supcon.network.models import network_for
from supcon.parsing import UserError
from supcon.recipe.objective import objective
from supcon.recipe.recomputation import Forward, in_micro_batches, unchanged_buffers
from supcon.train import Run

LOSSES = pytest.mark.parametrize("loss", ["supcon", "sincere", "simclr", "ce"])
VIEWS = pytest.mark.parametrize("views", [2, 3])
IMAGES = 7  # in 2 or 3 views: 14 or 21 rows, 4 or 6 micro-batches of 3 or 4


def model(norm: Callable[[], nn.Module], dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), norm(), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(36, 5)
    ).double()


def batch_norm() -> nn.Module:
    return nn.BatchNorm2d(4)


def group_norm() -> nn.Module:
    return nn.GroupNorm(2, 4)


def batch(views: int) -> tuple[Tensor, Tensor]:
    """View after view, as training has them."""
    images = torch.randn(views * IMAGES, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    return images.double(), (torch.arange(IMAGES) % 3).repeat(views)


def gradients(net: nn.Module, forward: Forward, loss: str, views: int) -> list[Tensor]:
    """The loss, and its gradient with respect to each parameter of `net`."""
    changes = {"loss.name": loss, "augment.views": views}
    changes |= {"loss.label_smoothing": 0.1} if loss == "ce" else {}
    images, labels = batch(views)
    torch.manual_seed(2)
    net.zero_grad()
    value = objective(override(Config(), changes), torch.ones(5) / 5)(forward(images), labels)
    value.backward()
    return [value.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


def parts_kept(net: nn.Module, parts: int) -> Forward:
    """Micro-batches in turn, the activations of all of them kept."""
    return lambda images: torch.cat([net(part) for part in images.tensor_split(parts)])


# Micro-batches


@LOSSES
@VIEWS
def test_the_gradient_of_micro_batches_is_that_of_the_batch(loss: str, views: int) -> None:
    for net in (model(group_norm), model(batch_norm).eval()):
        found = gradients(net, in_micro_batches(net, 4), loss, views)
        torch.testing.assert_close(found, gradients(net, net, loss, views), rtol=0, atol=1e-12)
        assert len(found) == 7


@LOSSES
@VIEWS
def test_dropout_draws_the_same_in_both_passes(loss: str, views: int) -> None:
    net = model(group_norm, dropout=0.5)
    found = gradients(net, in_micro_batches(net, 4), loss, views)
    expected = gradients(net, parts_kept(net, 4 if views == 2 else 6), loss, views)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    without = gradients(net.eval(), net, loss, views)
    assert (found[1] - without[1]).abs().max() > 1e-3  # it does draw


def test_random_numbers_go_on_after_a_step_as_if_there_had_been_one_pass() -> None:
    net, drawn = model(group_norm, dropout=0.5), []
    for forward in (in_micro_batches(net, 4), parts_kept(net, 4)):
        gradients(net, forward, "supcon", 2)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_batchnorm_sees_micro_batches_and_counts_each_once() -> None:
    net = model(batch_norm)
    expected = copy.deepcopy(net)
    images, labels = batch(views=2)
    loss = objective(Config(), torch.ones(5) / 5)
    loss(parts_kept(expected, 4)(images), labels).backward()
    value = loss(in_micro_batches(net, 4)(images), labels)
    with unchanged_buffers(net):
        value.backward()
    assert net[1].num_batches_tracked == 4
    torch.testing.assert_close(list(net.buffers()), list(expected.buffers()))
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [(8, 8, [8]), (9, 8, [5, 4]), (14, 4, [4, 4, 3, 3]), (5, 4, [3, 2]), (3, 4, [3])],
)
def test_micro_batches_are_as_many_as_needed_and_equally_large(
    rows: int, size: int, expected: list[int]
) -> None:
    seen: list[int] = []

    def forward(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images

    assert torch.equal(in_micro_batches(forward, size)(torch.arange(rows)), torch.arange(rows))
    assert seen == expected


def test_buffers_are_put_back_whatever_ran() -> None:
    net = model(batch_norm)
    before = [buffer.clone() for buffer in net.buffers()]
    with unchanged_buffers(net):
        net(batch(views=2)[0])
        assert not torch.equal(next(net.buffers()), before[0])
    assert all(torch.equal(*pair) for pair in zip(net.buffers(), before, strict=True))


# Steps of a run


def stepped(config: Config, data: Splits) -> tuple[Run, list[Tensor]]:
    """A run after a step; its loss, and the gradient that the step was taken with."""
    run = Run(config, data)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=64, enabled=run.scaler.is_enabled())
    run.optimizer.zero_grad = lambda: None  # type: ignore[method-assign, misc, assignment]
    images, labels = next(iter(run.loader(1)))
    loss = run.step(images, labels)
    assert run.steps == 1
    return run, [loss, *(p.grad for p in run.network.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    ("memory", "backbone", "changes"),
    [
        ("checkpoint", "test_resnet", {}),
        ("checkpoint", "test_resnet", {"run.precision": "fp16"}),
        ("cached", "test_vit", {}),  # LayerNorm
        ("cached", "test_vit", {"run.precision": "fp16", "loss.name": "ce"}),
    ],
)
def test_a_step_in_less_memory_is_the_same_step(
    tiny: Config, digits: Splits, memory: str, backbone: str, changes: dict[str, Any]
) -> None:
    config = override(
        tiny, {"model.backbone": backbone, "optim.clip_norm": 1.0, "run.micro_batch": 24, **changes}
    )
    plain, expected = stepped(config, digits)
    other, found = stepped(override(config, {"run.memory": memory}), digits)
    # The sum over micro-batches is rounded otherwise; in fp16 each of them is.
    tolerance = 2e-3 if memory == "cached" and "run.precision" in changes else 1e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    buffers = zip(other.network.buffers(), plain.network.buffers(), strict=True)
    assert all(torch.equal(*pair) for pair in buffers)
    norm = torch.stack([gradient.norm() for gradient in found[1:]]).norm()
    assert norm == pytest.approx(1, rel=1e-2)  # it was clipped


def test_a_run_in_micro_batches_counts_each_once(tiny: Config, digits: Splits) -> None:
    changes = {"run.memory": "cached", "run.micro_batch": 24, "run.precision": "bf16"}
    run, _ = stepped(override(tiny, changes), digits)
    counted = [b for name, b in run.network.named_buffers() if name.endswith("tracked")]
    assert counted
    assert all(n == 3 for n in counted)  # 64 views


def test_a_backbone_that_timm_cannot_checkpoint_is_refused(tiny: Config) -> None:
    split = Split(np.zeros((4, 64, 64, 1), dtype=np.uint8), np.arange(4))
    config = override(tiny, {"model.backbone": "dla46_c", "run.memory": "checkpoint"})
    with pytest.raises(UserError, match="not offered for dla46_c by timm; use cached"):
        network_for(config, Splits(split, split, ("a", "b", "c", "d")))
