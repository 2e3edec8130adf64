"""EMA and SWA against slow loops, and BatchNorm of the weights that are evaluated."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch_ema import ExponentialMovingAverage

from supcon.config import AverageConfig
from supcon.recipe.averaging import Averages, reestimate_batchnorm

CPU = torch.device("cpu")


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def averages(
    net: nn.Module, *, half_life: float = 0.0, swa_start: float = 1.0, steps: int = 10
) -> Averages:
    return Averages(net, AverageConfig(ema_half_life=half_life, swa_start=swa_start), steps)


@torch.no_grad()
def wander(net: nn.Module, seed: int) -> None:
    """A step of training, as far as averages are concerned."""
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.add_(torch.randn(p.shape, generator=generator))


def parameters(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def test_ema_equals_a_slow_loop() -> None:
    net = model()
    average = averages(net, half_life=0.5, steps=10)
    expected = parameters(net)
    for t in range(1, 101):
        wander(net, seed=t)
        average.after_step(net)
        decay = min(0.5 ** (1 / 5), (1 + t) / (10 + t))
        expected = [
            decay * e + (1 - decay) * p for e, p in zip(expected, parameters(net), strict=True)
        ]
    torch.testing.assert_close(
        parameters(average.running(net)["ema"]), expected, rtol=1e-4, atol=1e-4
    )


def test_ema_equals_that_of_torch_ema() -> None:
    net = model()
    ours = averages(net, half_life=0.5, steps=10)
    theirs = ExponentialMovingAverage(net.parameters(), decay=0.5 ** (1 / 5))
    for t in range(30):
        wander(net, seed=t)
        ours.after_step(net)
        theirs.update(net.parameters())
    expected = copy.deepcopy(net)
    theirs.copy_to(expected.parameters())
    torch.testing.assert_close(parameters(ours.running(net)["ema"]), parameters(expected))


@pytest.mark.parametrize("half_life", [0.5, 2.0])
def test_the_share_of_a_weight_halves_in_the_half_life(half_life: float) -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    average = averages(net, half_life=half_life, steps=10)
    for _ in range(500):  # beyond the warm-up of the decay
        average.after_step(net)
    nn.init.zeros_(net.weight)
    for _ in range(int(half_life * 10)):
        average.after_step(net)
    (weight,) = parameters(average.running(net)["ema"])
    assert weight.item() == pytest.approx(0.5, abs=1e-4)


def test_swa_is_the_plain_mean_of_the_tail_of_the_run() -> None:
    net = model()
    average = averages(net, swa_start=0.5)
    tail = []
    for epoch in range(1, 9):
        wander(net, seed=epoch)
        average.after_epoch(net, epoch / 8)
        if epoch > 4:
            tail.append(parameters(net))
    mean = [torch.stack(each).mean(0) for each in zip(*tail, strict=True)]
    torch.testing.assert_close(parameters(average.final(net)["swa"]), mean)


def test_swa_of_equal_weights_is_those_weights() -> None:
    net = model()
    average = averages(net, swa_start=0.0)
    for epoch in (1, 2, 3):
        average.after_epoch(net, epoch / 3)
    torch.testing.assert_close(parameters(average.final(net)["swa"]), parameters(net))


@pytest.mark.parametrize(
    ("half_life", "swa_start", "running", "final"),
    [
        (0.5, 0.5, {"ema"}, {"raw", "ema", "swa"}),
        (0.5, 1.0, {"ema"}, {"raw", "ema"}),
        (0.0, 0.5, {"raw"}, {"raw", "swa"}),
        (0.0, 1.0, {"raw"}, {"raw"}),
    ],
)
def test_only_averages_that_are_switched_on_are_candidates(
    half_life: float, swa_start: float, running: set[str], final: set[str]
) -> None:
    net = model()
    average = averages(net, half_life=half_life, swa_start=swa_start)
    average.after_step(net)
    average.after_epoch(net, 1.0)
    assert set(average.running(net)) == running
    assert set(average.final(net)) == final


def test_swa_is_no_candidate_before_the_tail() -> None:
    net = model()
    average = averages(net, swa_start=0.5)
    average.after_epoch(net, 0.5)
    assert set(average.final(net)) == {"raw"}


def test_evaluated_models_share_nothing_with_the_model_in_training() -> None:
    net = model()
    net(images(16))  # BatchNorm has seen something
    average = averages(net, half_life=0.5, swa_start=0.0)
    average.after_step(net)
    average.after_epoch(net, 1.0)
    before, state_before = copy.deepcopy(net.state_dict()), copy.deepcopy(average.state_dict())
    for candidate in (average.final(net) | average.running(net)).values():
        reestimate_batchnorm(candidate, [images(16, seed=1)], CPU)
        wander(candidate, seed=0)
    assert net.training
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(average.state_dict()["swa"], state_before["swa"], rtol=0, atol=0)
    torch.testing.assert_close(
        average.state_dict()["ema"]["shadow_params"],
        state_before["ema"]["shadow_params"],
        rtol=0,
        atol=0,
    )


def test_reestimated_batchnorm_is_the_mean_over_the_batches() -> None:
    net = model()
    for _ in range(5):
        net(images(16, seed=9) * 100)  # statistics to be forgotten
    conv, norm = net.get_submodule("0"), net.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    batches = [images(16, seed=1), images(16, seed=2), images(16, seed=3)]
    reestimate_batchnorm(net, batches, CPU)

    with torch.no_grad():
        outputs = [conv(batch) for batch in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in outputs]).mean(0)
    var = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert norm.momentum == 0.1
    assert not net.training


@pytest.mark.parametrize("n", [1, 2, 7])
def test_reestimated_batchnorm_equals_that_of_torch_bit_for_bit(n: int) -> None:
    ours, theirs = model(), model()
    batches = [images(4 + i, seed=i) for i in range(n)]
    reestimate_batchnorm(ours, batches, CPU)
    with torch.no_grad():
        update_bn(batches, theirs)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert ours.get_submodule("1").momentum == theirs.get_submodule("1").momentum


def test_reestimating_changes_no_parameter() -> None:
    net = model()
    before = parameters(net)
    reestimate_batchnorm(net, [images(16)], CPU)
    torch.testing.assert_close(parameters(net), before, rtol=0, atol=0)
    assert all(p.grad is None for p in net.parameters())


def test_a_model_without_batchnorm_is_left_alone() -> None:
    net = nn.Linear(2, 2)
    reestimate_batchnorm(net, iter([torch.ones(1, 2)]), CPU)
    assert not net.training


def test_averaging_goes_on_from_its_saved_state() -> None:
    net = model()
    whole = averages(net, half_life=0.5, swa_start=0.0)
    first = averages(net, half_life=0.5, swa_start=0.0)
    second = averages(net, half_life=0.5, swa_start=0.0)
    for t in range(10):
        if t == 5:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
        wander(net, seed=t)
        for average in (whole, first if t < 5 else second):
            average.after_step(net)
            average.after_epoch(net, (t + 1) / 10)
    for name, candidate in whole.final(net).items():
        resumed = second.final(net)[name]
        torch.testing.assert_close(parameters(resumed), parameters(candidate), rtol=0, atol=0)


@pytest.mark.parametrize("half_life", [0.0, 0.5])
def test_the_state_of_averages_that_are_off_is_loaded_too(half_life: float) -> None:
    net = model()
    average = averages(net, half_life=half_life)
    average.load_state_dict(averages(net, half_life=half_life).state_dict())
    assert set(average.final(net)) == ({"raw"} if half_life == 0 else {"raw", "ema"})
