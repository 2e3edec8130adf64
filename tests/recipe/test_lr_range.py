"""The learning-rate range test: what it finds, and that it leaves no trace."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from supcon.config import OptimConfig
from supcon.parsing import UserError
from supcon.recipe.losses import cross_entropy
from supcon.recipe.lr_range import SKIPPED, RangeTest, range_test
from supcon.recipe.optim import build_optimizer

Batches = DataLoader[tuple[Tensor, ...]]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batches() -> Batches:
    """Four batches of three clouds."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(32) % 3
    x = nn.functional.one_hot(y, 6) + 0.3 * torch.randn(32, 6, generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=8)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return build_optimizer(model, OptimConfig(), 256)


def find(model: nn.Module, optimizer: torch.optim.Optimizer, **changes: Any) -> RangeTest:
    options = {"lowest": 1e-4, "highest": 10.0, "steps": 30} | changes
    return range_test(model, optimizer, cross_entropy, batches(), **options)


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for x, y in batches():
        cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars", "lookahead_radam"])
@pytest.mark.parametrize("is_trained", [False, True])
def test_the_range_test_leaves_model_and_optimiser_bit_identical(
    name: str, is_trained: bool
) -> None:
    model = net()
    optimizer = build_optimizer(model, OptimConfig(name=name), 256)
    if is_trained:
        train(model, optimizer)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    find(model, optimizer)
    after = (model.state_dict(), optimizer.state_dict())
    # Parameters, BatchNorm's buffers and their integer counter, momentum, learning rates.
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert after[1]["param_groups"] == before[1]["param_groups"]
    torch.testing.assert_close(after[1]["state"], before[1]["state"], rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())


def test_training_after_a_range_test_is_training_without_one() -> None:
    plain, tested = net(), net()
    optimizers = [sgd(plain), sgd(tested)]
    find(tested, optimizers[1])
    for model, optimizer in zip((plain, tested), optimizers, strict=True):
        train(model, optimizer)
    torch.testing.assert_close(tested.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_learning_rates_grow_exponentially_from_lowest_to_highest() -> None:
    model = net()
    found = find(model, sgd(model), lowest=1e-3, highest=1.0, steps=25)
    assert found.lr == pytest.approx(np.geomspace(1e-3, 1.0, 25))
    assert len(found.loss) == 25
    assert all(math.isfinite(loss) for loss in found.loss)


def test_the_optimiser_takes_its_steps_at_these_learning_rates() -> None:
    # One weight, and a loss with gradient 1: the steps are the learning rates.
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    ones: Batches = DataLoader(TensorDataset(torch.ones(4, 1), torch.zeros(4)), batch_size=2)
    seen: list[float] = []

    def output(outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append(outputs.mean().item())
        return outputs.mean() + 1000

    found = range_test(model, optimizer, output, ones, lowest=0.1, highest=10.0, steps=10)
    steps = -np.diff(seen)
    assert steps == pytest.approx(found.lr[:-1], rel=1e-3)


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    lr = [10.0 ** (i - 9) for i in range(12)]
    # The steepest fall of all is among the first steps, which do not count.
    loss = [9.0, 5.0, 4.9, 4.8, 4.7, 4.6, 4.5, 4.2, 2.2, 2.0, 1.9, 7.0]
    assert RangeTest(lr, loss).suggestion == pytest.approx(1e-2)  # between 4.5 and 2.2


def test_of_equal_slopes_the_smallest_learning_rate_is_suggested() -> None:
    lr = [0.1 * (i + 1) for i in range(12)]
    assert RangeTest(lr, [12.0 - i for i in range(12)]).suggestion == lr[SKIPPED]


def test_losses_that_are_not_finite_are_not_suggested() -> None:
    lr = [10.0**i for i in range(10)]
    loss = [5.0, 5.0, 5.0, 5.0, 5.0, 4.0, 3.9, 3.8, float("nan"), float("nan")]
    assert RangeTest(lr, loss).suggestion in lr[5:8]


def test_the_suggestion_learns() -> None:
    model = net()
    optimizer = sgd(model)
    found = find(model, optimizer, steps=60)
    assert 1e-3 < found.suggestion < 10
    for group in optimizer.param_groups:
        group["lr"] = found.suggestion
    (x, y) = next(iter(batches()))
    before = cross_entropy(model(x), y).item()
    for _ in range(5):
        train(model, optimizer)
    assert cross_entropy(model(x), y).item() < 0.5 * before


def test_a_test_that_diverges_ends_early_and_leaves_no_trace() -> None:
    model = nn.Linear(6, 3)
    optimizer = sgd(model)
    before = copy.deepcopy(model.state_dict())
    found = find(model, optimizer, lowest=1e-2, highest=1e8, steps=50)
    assert 2 * SKIPPED < len(found.lr) == len(found.loss) < 50
    assert found.loss[-1] > 5 * min(found.loss)
    assert 1e-2 < found.suggestion < found.lr[-1]
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_a_test_that_diverges_at_once_is_explained() -> None:
    model = nn.Linear(6, 3)
    with pytest.raises(UserError):
        _ = find(model, sgd(model), lowest=1e6, highest=1e9).suggestion


def test_the_range_test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    model = net()
    find(model, sgd(model))
    model = nn.Linear(6, 3)
    find(model, sgd(model), lowest=1e-2, highest=1e8, steps=50)  # it diverges
    assert capfd.readouterr() == ("", "")


def test_a_loss_that_is_no_number_ends_the_curve() -> None:
    model = nn.Linear(6, 3)
    losses = iter([float(9 - i) for i in range(9)] + [math.nan] * 99)
    found = range_test(
        model,
        sgd(model),
        lambda outputs, labels: outputs.sum() * 0 + next(losses),
        batches(),
        lowest=1e-3,
        highest=1,
        steps=30,
    )
    assert len(found.lr) == len(found.loss) == 9
    assert math.isfinite(found.suggestion)
