"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from supcon.config import OptimConfig
from supcon.optim import build_optimizer, lr_factor, parameter_groups, set_lr


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("progress", "warmup", "factor"),
    [
        (0.0, 0.1, 0.0),
        (0.05, 0.1, 0.5),
        (0.1, 0.1, 1.0),
        (0.55, 0.1, 0.5),
        (1.0, 0.1, 0.0),
        (0.0, 0.0, 1.0),
        (0.25, 0.0, 0.5 + 0.5**1.5),
        (0.5, 0.0, 0.5),
        (1.0, 0.0, 0.0),
        (0.999, 0.999, 1.0),
    ],
)
def test_the_learning_rate_rises_linearly_and_falls_by_half_a_cosine(
    progress: float, warmup: float, factor: float
) -> None:
    assert lr_factor(progress, warmup) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.1, 0.5, 0.99])
def test_the_learning_rate_has_one_peak_at_the_end_of_the_warm_up(warmup: float) -> None:
    steps = [i / 1000 for i in range(1001)]
    rise = [lr_factor(p, warmup) for p in steps if p <= warmup]
    fall = [lr_factor(p, warmup) for p in steps if p >= warmup]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert max(rise + fall) == pytest.approx(1)
    assert min(rise + fall) >= 0


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize(("batch_size", "lr"), [(256, 0.2), (64, 0.05), (1024, 0.8)])
def test_the_learning_rate_scales_linearly_with_the_batch(
    name: str, batch_size: int, lr: float
) -> None:
    config = OptimConfig.model_validate({"name": name, "lr_per_256": 0.2})
    for group in build_optimizer(model(), config, batch_size).param_groups:
        assert group["lr"] == pytest.approx(lr)


def test_norms_and_biases_have_no_weight_decay() -> None:
    net = model()
    decayed, plain = build_optimizer(net, OptimConfig(weight_decay=0.1), 256).param_groups
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in plain["params"]] == [1, 1, 1, 1]


def test_every_parameter_is_in_exactly_one_group() -> None:
    net = model()
    grouped = [p for group in parameter_groups(net, 0.1) for p in group["params"]]  # type: ignore[attr-defined]
    assert len(grouped) == len(list(net.parameters()))
    assert {id(p) for p in grouped} == {id(p) for p in net.parameters()}


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_sgd_has_nesterov_momentum_where_it_has_momentum(momentum: float, nesterov: bool) -> None:
    optimizer = build_optimizer(model(), OptimConfig(momentum=momentum), 256)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == momentum
    assert optimizer.defaults["nesterov"] is nesterov


def test_adamw_is_adamw() -> None:
    assert isinstance(build_optimizer(model(), OptimConfig(name="adamw"), 256), torch.optim.AdamW)


def test_all_groups_get_the_learning_rate_that_is_returned() -> None:
    optimizer = build_optimizer(model(), OptimConfig(), 256)
    assert set_lr(optimizer, 0.4, 0.25) == 0.1
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
