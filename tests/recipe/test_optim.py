"""Optimisers, parameter groups and the learning-rate schedule."""

from __future__ import annotations

import copy
import io
import math
import sys
from itertools import pairwise

import pytest
import timm.optim
import torch
import torch_optimizer
from timm.optim import Lookahead
from torch import Tensor, nn

from supcon.config import OptimConfig
from supcon.parsing import UserError
from supcon.recipe.losses import cross_entropy
from supcon.recipe.optim import UNUSABLE, build_optimizer, lr_factor, parameter_groups, set_lr

SCHEDULES = ("cosine", "constant", "wsd")

LEFT_OUT = ("bnb", "fused", *UNUSABLE)  # bnb* and fused* need CUDA and packages of their own
OF_TIMM = [name for name in timm.optim.list_optimizers() if not name.startswith(LEFT_OUT)]
OF_TORCH_OPTIMIZER = [
    name
    for name in torch_optimizer._NAME_OPTIM_MAP
    if name not in timm.optim.list_optimizers() and name not in ("lookahead", *UNUSABLE)
]
EVERY_OPTIMISER = pytest.mark.parametrize(
    ("name", "schedule"),
    [
        (name, SCHEDULES[i % 3])
        for i, name in enumerate(
            [*OF_TIMM, *OF_TORCH_OPTIMIZER, "lookahead_sgd", "lookahead_adamw"]
        )
    ],
)
WITH_NESTEROV = [
    name for name in OF_TIMM if "nesterov" in (timm.optim.get_optimizer_info(name).defaults or {})
]


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


# The learning rate


@pytest.mark.parametrize(
    ("schedule", "warmup", "decay", "progress", "factor"),
    [
        ("cosine", 0.1, 0.2, 0.0, 0.0),
        ("cosine", 0.1, 0.2, 0.05, 0.5),
        ("cosine", 0.1, 0.2, 0.1, 1.0),
        ("cosine", 0.1, 0.2, 0.55, 0.5),
        ("cosine", 0.1, 0.2, 1.0, 0.0),
        ("cosine", 0.0, 0.2, 0.0, 1.0),
        ("cosine", 0.0, 0.2, 0.25, 0.5 + 0.5**1.5),
        ("cosine", 0.0, 0.2, 0.5, 0.5),
        ("cosine", 0.0, 0.2, 1.0, 0.0),
        ("cosine", 0.999, 0.2, 0.999, 1.0),
        ("constant", 0.1, 0.2, 0.0, 0.0),
        ("constant", 0.1, 0.2, 0.05, 0.5),
        ("constant", 0.1, 0.2, 0.1, 1.0),
        ("constant", 0.1, 0.2, 0.9, 1.0),
        ("constant", 0.1, 0.2, 1.0, 1.0),
        ("constant", 0.0, 0.2, 0.0, 1.0),
        ("wsd", 0.1, 0.2, 0.0, 0.0),
        ("wsd", 0.1, 0.2, 0.05, 0.5),
        ("wsd", 0.1, 0.2, 0.1, 1.0),
        ("wsd", 0.1, 0.2, 0.5, 1.0),
        ("wsd", 0.1, 0.2, 0.8, 1.0),
        ("wsd", 0.1, 0.2, 0.85, 0.75),
        ("wsd", 0.1, 0.2, 0.9, 0.5),
        ("wsd", 0.1, 0.2, 1.0, 0.0),
        ("wsd", 0.5, 0.5, 0.25, 0.5),
        ("wsd", 0.5, 0.5, 0.5, 1.0),
        ("wsd", 0.5, 0.5, 0.75, 0.5),
        ("wsd", 0.0, 1.0, 0.0, 1.0),
        ("wsd", 0.0, 1.0, 0.25, 0.75),
    ],
)
def test_the_learning_rate_rises_linearly_and_then_follows_the_schedule(
    schedule: str, warmup: float, decay: float, progress: float, factor: float
) -> None:
    found = lr_factor(progress, schedule=schedule, warmup=warmup, decay=decay)
    assert found == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.1, 0.7])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_only_rises_in_the_warm_up_and_only_falls_after_it(
    schedule: str, warmup: float
) -> None:
    for n_steps in (2, 3, 4, 5, *range(1, 1001, 9)):
        middles = [(step + 0.5) / n_steps for step in range(n_steps)]
        factors = [lr_factor(p, schedule=schedule, warmup=warmup, decay=0.3) for p in middles]
        assert all(0 < factor <= 1 for factor in factors)
        n_rising = sum(p < warmup for p in middles)
        assert all(a < b for a, b in pairwise(factors[:n_rising]))
        assert all(a >= b for a, b in pairwise(factors[n_rising:]))
    peak = lr_factor(warmup, schedule=schedule, warmup=warmup, decay=0.3)
    assert peak == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars", "lookahead_radam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_at_the_end_of_its_schedule_an_optimiser_moves_the_weights_or_not(
    schedule: str, name: str
) -> None:
    net = conv_net()
    optimizer = build_optimizer(net, OptimConfig(name=name), 256)
    train(net, optimizer, range(5), schedule=schedule)
    before = parameters(net)
    factor = lr_factor(1.0, schedule=schedule, warmup=0.1, decay=0.2)
    assert factor == (1 if schedule == "constant" else 0)
    set_lr(optimizer, 0.2, factor)
    take_step(net, optimizer)  # the fifth step would be that of Lookahead
    moved = [not torch.equal(a, b) for a, b in zip(before, parameters(net), strict=True)]
    assert moved == [schedule == "constant"] * 5


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("scaling", "batch_size", "lr"),
    [
        ("linear", 256, 0.2),
        ("linear", 64, 0.05),
        ("linear", 1024, 0.8),
        ("sqrt", 256, 0.2),
        ("sqrt", 64, 0.1),
        ("sqrt", 1024, 0.4),
        ("sqrt", 512, 0.2 * math.sqrt(2)),
    ],
)
def test_the_learning_rate_scales_with_the_batch(
    name: str, scaling: str, batch_size: int, lr: float
) -> None:
    settings = {"name": name, "lr_per_256": 0.2, "lr_scaling": scaling}
    config = OptimConfig.model_validate(settings)
    for group in build_optimizer(model(), config, batch_size).param_groups:
        assert group["lr"] == pytest.approx(lr)


# Parameter groups


def test_norms_and_biases_have_no_weight_decay() -> None:
    net = model()
    decayed, plain = build_optimizer(net, OptimConfig(weight_decay=0.1), 256).param_groups
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in plain["params"]] == [1, 1, 1, 1]


def test_every_parameter_is_in_exactly_one_group() -> None:
    net = model()
    grouped = [p for group in parameter_groups(net, 0.1) for p in group["params"]]
    assert len(grouped) == len(list(net.parameters()))
    assert {id(p) for p in grouped} == {id(p) for p in net.parameters()}


# Optimisers


def conv_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    )
    return net.to(memory_format=torch.channels_last)  # as networks are


def parameters(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def take_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    images = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    loss = cross_entropy(net(images), torch.arange(8) % 3)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def train(
    net: nn.Module, optimizer: torch.optim.Optimizer, steps: range, *, schedule: str
) -> list[float]:
    """Steps of a run of 20; returns their losses."""
    losses = []
    for step in steps:
        factor = lr_factor((step + 0.5) / 20, schedule=schedule, warmup=0.1, decay=0.2)
        set_lr(optimizer, 0.01, factor)
        losses.append(take_step(net, optimizer))
    return losses


def build(net: nn.Module, name: str, momentum: float = 0.9) -> torch.optim.Optimizer:
    config = OptimConfig(name=name, lr_per_256=0.01, momentum=momentum)
    return build_optimizer(net, config, 256)


@pytest.mark.filterwarnings("ignore:This overload of addcmul_")  # in ranger
@EVERY_OPTIMISER
def test_every_optimiser_trains(name: str, schedule: str) -> None:
    net = conv_net()
    before = parameters(net)
    losses = train(net, build(net, name), range(3), schedule=schedule)
    assert all(math.isfinite(loss) for loss in losses)
    for a, b in zip(before, parameters(net), strict=True):
        assert b.isfinite().all()
        assert not torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:This overload of addcmul_")  # in ranger
@EVERY_OPTIMISER
def test_every_optimiser_goes_on_from_its_saved_state_bit_for_bit(name: str, schedule: str) -> None:
    whole = conv_net()
    optimizer = build(whole, name)
    train(whole, optimizer, range(7), schedule=schedule)
    file = io.BytesIO()
    torch.save({"net": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(whole, optimizer, range(7, 12), schedule=schedule)  # Lookahead looks back at step 12

    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = conv_net()
    optimizer = build(resumed, name)
    resumed.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    train(resumed, optimizer, range(7, 12), schedule=schedule)
    torch.testing.assert_close(parameters(resumed), parameters(whole), rtol=0, atol=0)


@pytest.mark.parametrize("name", WITH_NESTEROV)
def test_nesterov_is_left_to_the_name_of_the_optimiser(name: str) -> None:
    expected = timm.optim.get_optimizer_info(name).defaults["nesterov"]
    assert build(model(), name).defaults["nesterov"] is expected


@pytest.mark.parametrize("name", WITH_NESTEROV)
def test_momentum_may_be_0(name: str) -> None:
    net = conv_net()
    optimizer = build(net, name, momentum=0.0)
    if timm.optim.get_optimizer_info(name).has_momentum:
        assert not optimizer.defaults["nesterov"]
    assert all(math.isfinite(loss) for loss in train(net, optimizer, range(2), schedule="cosine"))


@pytest.mark.parametrize("name", ["adamp", "cadamp"])
def test_momentum_has_no_effect_where_the_optimiser_has_none(name: str) -> None:
    nets = [conv_net(), conv_net()]
    for net, momentum in zip(nets, (0.0, 0.9), strict=True):
        train(net, build(net, name, momentum), range(3), schedule="cosine")
    torch.testing.assert_close(*map(parameters, nets), rtol=0, atol=0)


@pytest.mark.parametrize("inner", ["sgd", "adamw", "radam"])
def test_lookahead_wraps_the_optimiser_that_follows(inner: str) -> None:
    wrapped = build(model(), f"lookahead_{inner}")
    assert isinstance(wrapped, Lookahead)
    plain = build(model(), inner)
    assert type(wrapped._base_optimizer) is type(plain)
    assert [group["weight_decay"] for group in wrapped.param_groups] == [1e-4, 0]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_sgd_has_nesterov_momentum_where_it_has_momentum(momentum: float, nesterov: bool) -> None:
    optimizer = build_optimizer(model(), OptimConfig(momentum=momentum), 256)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == momentum
    assert optimizer.defaults["nesterov"] is nesterov


def test_by_default_there_are_momentum_weight_decay_and_a_warm_up() -> None:
    config = OptimConfig()
    (decayed, _) = build_optimizer(model(), config, 256).param_groups
    assert (decayed["momentum"], decayed["nesterov"], decayed["weight_decay"]) == (0.9, True, 1e-4)
    assert config.warmup == 0.1


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "lookahead_sgd"])
def test_a_first_step_that_a_scaler_skips_leaves_no_trace(name: str) -> None:
    weights, start = [], model()
    for skips in (1, 0):
        net = copy.deepcopy(start)
        optimizer = build_optimizer(net, OptimConfig(name=name), 256)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        garbage = torch.full((10_000,), float("nan"))  # what memory that is not cleared may hold
        del garbage
        for step in range(-skips, 3):
            loss = sum(p.square().sum() for p in net.parameters())
            assert isinstance(loss, torch.Tensor)
            scaler.scale(loss * float("inf") if step < 0 else loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        weights.append([p.detach() for p in net.parameters()])
    torch.testing.assert_close(*weights)


def test_adamw_is_adamw() -> None:
    assert isinstance(build_optimizer(model(), OptimConfig(name="adamw"), 256), torch.optim.AdamW)


def test_all_groups_get_the_learning_rate_that_is_returned() -> None:
    optimizer = build_optimizer(model(), OptimConfig(), 256)
    assert set_lr(optimizer, 0.4, 0.25) == 0.1
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


@pytest.mark.parametrize("name", ["accsgd", "ranger"])
def test_an_optimiser_of_torch_optimizer_is_its_class(name: str) -> None:
    assert type(build(model(), name)) is torch_optimizer.get(name)


@pytest.mark.parametrize(
    ("name", "similar"),
    [("adamww", "adamw"), ("rangr", "ranger"), ("lookahed", ""), ("lookahead", ""), ("", "")],
)
def test_an_unknown_optimiser_gets_similar_names(name: str, similar: str) -> None:
    with pytest.raises(UserError) as error:
        build(model(), name)
    message, hint = str(error.value).split("; ")
    assert message == f"optim.name: there is no optimiser '{name}'"
    if similar:
        assert similar in hint.removeprefix("similar: ").split(", ")
    else:
        assert hint == "see timm.optim.list_optimizers()"


def test_no_similar_name_comes_twice() -> None:
    with pytest.raises(UserError) as error:
        build(model(), "sgdd")
    names = str(error.value).split("similar: ")[1].split(", ")
    assert len(names) == len(set(names))


def test_without_torch_optimizer_the_extra_that_brings_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch_optimizer", None)  # importing it fails
    with pytest.raises(UserError) as error:
        build(model(), "ranger")
    (line,) = str(error.value).splitlines()
    assert line.startswith("optim.name: there is no optimiser 'ranger'; ")
    assert line.endswith("pip install 'supcon-search[torch-optimizer]'")
    assert isinstance(build(model(), "sgd"), torch.optim.SGD)


@pytest.mark.parametrize("name", ["lookahead_adahessian", *UNUSABLE])
def test_an_optimiser_that_cannot_be_used_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError, match=rf"^optim\.name: {name} cannot be used: it .*$"):
        build(model(), name)


@pytest.mark.parametrize("name", ["bnbadam", "fusedsgd", "lookahead_fusedadam"])
def test_an_optimiser_that_needs_a_gpu_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as error:
        build(model(), name)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"optim.name: {name} cannot be used: ")
