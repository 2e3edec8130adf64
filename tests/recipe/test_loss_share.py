"""The range of a training loss against gradient descent, and against batches that were drawn."""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from supcon.config import Config, override
from supcon.recipe.loss_share import LossRange, loss_range, loss_share
from supcon.recipe.losses import cross_entropy, simclr_loss, sincere_loss, supcon_loss

LOSSES = {"supcon": supcon_loss, "sincere": sincere_loss}


def config(loss: str, **changes: Any) -> Config:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return override(Config(), {"loss.name": loss, "data.batch_size": 4} | dotted)


def found_for(loss: str, counts: list[int], **changes: Any) -> LossRange:
    found = loss_range(config(loss, **changes), counts)
    assert found is not None
    return found


def simplex(k: int) -> Tensor:
    return torch.eye(k, dtype=torch.float64) - 1 / k


def mean_over_batches(loss: str, z_KD: Tensor, counts: list[int], t: float, views: int) -> float:
    """Of all batches of 4 images there are, each image in the place of its class."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    batches = list(combinations(range(len(labels)), 4))
    total = 0.0
    for batch in batches:
        y = labels[list(batch)].repeat(views)
        total += LOSSES[loss](z_KD[y], y, temperature=t, base_temperature=0.1).item()
    return total / len(batches)


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize(("counts", "views"), [([3, 3, 3], 2), ([2, 5], 3), ([4, 1, 1, 2], 2)])
@pytest.mark.parametrize("t", [0.05, 0.7])
def test_both_ends_are_the_means_over_all_batches(
    loss: str, counts: list[int], views: int, t: float
) -> None:
    found = found_for(loss, counts, loss__temperature=t, augment__views=views)
    mean = partial(mean_over_batches, loss, counts=counts, t=t, views=views)
    assert found.least == pytest.approx(mean(simplex(len(counts))), rel=1e-9, abs=1e-12)
    constant = torch.ones(len(counts), 3, dtype=torch.float64)
    assert found.constant == pytest.approx(mean(constant), rel=1e-9)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_gradient_descent_finds_nothing_below_the_least_loss(loss: str) -> None:
    counts, t = [4, 4, 4], 0.5
    changes = {"loss__temperature": t, "data__batch_size": 12}
    found = found_for(loss, counts, **changes)
    labels = (torch.arange(12) % 3).repeat(2)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(24, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=0.1)
    for _ in range(300):
        value = LOSSES[loss](z, labels, temperature=t, base_temperature=0.1)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert found.share(value.item()) == pytest.approx(0, abs=1e-3)
    assert found.share(value.item()) >= 0


@pytest.mark.parametrize("size", [64, 1024])
def test_of_large_batches_each_class_has_its_share(size: int) -> None:
    found = found_for("supcon", [500] * 10, data__batch_size=size, loss__temperature=0.1)
    n = 2 * size
    assert found.least == pytest.approx(math.log(n / 10 - 1), rel=0.1 * 64 / size)
    assert found.constant == pytest.approx(math.log(n - 1), rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("counts", [[7, 7, 7], [8, 1, 3]])
@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_cross_entropy_lies_between_its_target_and_the_best_constant_logits(
    smoothing: float, counts: list[int], tau: float
) -> None:
    changes = {"loss__label_smoothing": smoothing, "loss__logit_adjustment": tau}
    found = found_for("ce", counts, **changes)
    adjustment = tau * (torch.tensor(counts) / sum(counts)).double().log()
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    target = torch.full((3,), smoothing / 3, dtype=torch.float64)
    target[0] += 1 - smoothing
    best = (target.clamp(min=1e-300).log() - adjustment).expand(1, 3)
    scored = partial(cross_entropy, label_smoothing=smoothing, adjustment=adjustment)
    least = scored(best, torch.tensor([0]))
    assert found.least == pytest.approx(least.item(), abs=1e-12)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        loss = scored(logits.expand(sum(counts), 3), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert found.constant == pytest.approx(loss.item(), abs=1e-6)
    if len(set(counts)) == 1:
        assert found.constant == pytest.approx(math.log(3))


@pytest.mark.parametrize("weight", [0.2, 0.7])
def test_the_ends_of_the_joint_loss_are_those_of_its_parts_by_their_weights(weight: float) -> None:
    changes = {"loss__label_smoothing": 0.1, "loss__temperature": 0.3}
    supcon, ce = (found_for(loss, [9, 4, 9], **changes) for loss in ("supcon", "ce"))
    found = found_for("supcon_ce", [9, 4, 9], loss__ce_weight=weight, **changes)
    assert found.least == pytest.approx((1 - weight) * supcon.least + weight * ce.least)
    assert found.constant == pytest.approx((1 - weight) * supcon.constant + weight * ce.constant)


@pytest.mark.parametrize("loss", ["supcon", "ce"])
def test_the_balanced_sampler_makes_classes_equal(loss: str) -> None:
    found = found_for(loss, [90, 7, 3, 20], data__sampler="balanced")
    assert found == found_for(loss, [30, 30, 30, 30])


@pytest.mark.parametrize(
    ("loss", "counts", "changes"),
    [
        ("simclr", [9, 9, 9], {}),
        ("supcon", [9, 9, 9], {"augment__cutmix": 1.0}),
        ("ce", [9, 9, 9], {"augment__mixup": 0.2}),
        ("supcon_ce", [9, 9, 9, 9], {"model__head_dim": 2}),
        ("supcon", [9, 9, 9, 9], {"model__head_dim": 2}),  # no room for the simplex
        ("supcon", [9, 0], {}),
        ("ce", [9], {}),
    ],
)
def test_where_no_end_is_known_there_is_no_share(
    loss: str, counts: list[int], changes: dict[str, Any]
) -> None:
    assert loss_range(config(loss, **changes), counts) is None
    assert loss_share(None, 1.0) == {}


def test_simclr_is_left_out_since_no_simplex_of_classes_is_its_optimum() -> None:
    z, labels = simplex(2)[torch.arange(8) % 2], torch.arange(8) % 2
    at_simplex = simclr_loss(z, labels, views=2, temperature=0.5)
    apart = torch.eye(8, dtype=torch.float64)[torch.arange(8) % 4]
    assert simclr_loss(apart, labels, views=2, temperature=0.5) < at_simplex


def test_a_share_says_how_far_a_loss_is_from_its_least_value() -> None:
    assert loss_share(LossRange(1.0, 3.0), 1.5) == {"train/loss_share": 0.25}
