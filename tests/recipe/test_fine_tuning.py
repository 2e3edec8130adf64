"""Training from weights: a frozen encoder, slower lower layers, and none at all."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.network.models import network_for
from supcon.recipe.optim import build_optimizer, parameter_groups, set_lr
from supcon.train import Record, Run, fit

BOTH = pytest.mark.parametrize("loss", ["supcon", "ce"])


def run_of(config: Config, data: Splits, **changes: Any) -> Run:
    return Run(override(config, {key.replace("__", "."): v for key, v in changes.items()}), data)


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


def are_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# A frozen encoder


@BOTH
def test_a_frozen_encoder_stays_bit_for_bit_while_the_head_learns(
    tiny: Config, digits: Splits, loss: str
) -> None:
    run = run_of(tiny, digits, loss__name=loss, optim__freeze_epochs=1)
    encoder, head = state(run.network.encoder), state(run.network.head)
    run.train_epoch()
    assert are_equal(state(run.network.encoder), encoder)  # weights and BatchNorm
    assert not are_equal(state(run.network.head), head)
    run.train_epoch()
    moved = state(run.network.encoder)
    assert not any(torch.equal(moved[n], encoder[n]) for n in moved if n.endswith("conv1.weight"))
    assert not torch.equal(moved["backbone.bn1.running_mean"], encoder["backbone.bn1.running_mean"])


@pytest.mark.slow
def test_a_run_that_stops_while_it_is_frozen_goes_on_as_if_it_had_not(
    tiny: Config, digits: Splits, tmp_path: Path
) -> None:
    config = override(tiny, {"optim.freeze_epochs": 2})
    whole = list(fit(config, digits))
    next(iter(fit(config, digits, tmp_path / "last.pt")))
    again = list(fit(config, digits, tmp_path / "last.pt"))
    assert again == whole


@pytest.mark.parametrize("memory", ["checkpoint", "cached"])
def test_activations_that_are_made_again_change_no_frozen_step(
    tiny: Config, digits: Splits, memory: str
) -> None:
    """BatchNorm of a frozen encoder sees no batch, so micro-batches are exact too."""
    plain = run_of(tiny, digits, optim__freeze_epochs=1)
    other = run_of(tiny, digits, optim__freeze_epochs=1, run__memory=memory, run__micro_batch=32)
    for run in (plain, other):
        run.train_epoch()
    torch.testing.assert_close(
        state(other.network.head), state(plain.network.head), rtol=1e-4, atol=1e-6
    )
    assert are_equal(state(other.network.encoder), state(plain.network.encoder))


# None at all


@BOTH
def test_without_epochs_the_encoder_is_scored_as_it_starts(
    tiny: Config, digits: Splits, loss: str
) -> None:
    config = override(
        tiny, {"loss.name": loss, "run.epochs": 0, "run.eval_at": [], "average.ema_half_life": 0}
    )
    torch.manual_seed(0)
    (record,) = fit(config, digits)
    assert (record.epoch, record.views, record.is_last) == (0, 0, True)
    assert record.trained is not None
    accuracies = {name for name in record.metrics if name.endswith("_top1")}
    assert accuracies == {"val/probe_top1", "val/knn_top1", "val/knn1_top1"}
    start = run_of(config, digits).network
    weights = dict(record.trained.network.named_parameters())
    assert all(torch.equal(weights[name], p) for name, p in start.named_parameters())


def test_a_run_without_epochs_needs_no_checkpoint_to_be_repeated(
    tiny: Config, digits: Splits, tmp_path: Path
) -> None:
    config = override(tiny, {"run.epochs": 0, "run.eval_at": []})
    found: list[Record] = [*fit(config, digits, tmp_path / "a.pt"), *fit(config, digits)]
    assert found[0] == found[1]
    assert not (tmp_path / "a.pt").exists()


# Slower lower layers


@pytest.fixture
def network(tiny: Config, digits: Splits) -> torch.nn.Module:
    return network_for(override(tiny, {"model.backbone": "resnet18"}), digits)


def test_each_layer_learns_more_slowly_than_the_one_above(network: torch.nn.Module) -> None:
    groups = parameter_groups(network, 0.1, layer_decay=0.5)
    scale = {id(p): group.get("lr_scale", 1.0) for group in groups for p in group["params"]}
    assert len(scale) == len(list(network.parameters()))
    named = {name: scale[id(p)] for name, p in network.named_parameters()}
    blocks = [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)]
    expected = {"conv1": 0.5**8} | {block: 0.5 ** (7 - i) for i, block in enumerate(blocks)}
    for name, share in named.items():
        own = name.removeprefix("encoder.backbone.")
        want = next((s for start, s in expected.items() if own.startswith(start + ".")), None)
        if own.startswith("head."):
            want = 1.0
        if own.startswith("bn1."):
            want = 0.5**8
        assert share == pytest.approx(want), name
    for group in groups:
        dims = {p.ndim > 1 for p in group["params"]}
        assert dims == {group["weight_decay"] > 0}


@pytest.mark.parametrize("name", ["sgd", "adamw", "lookahead_radam"])
def test_the_schedule_keeps_the_layers_shares(network: torch.nn.Module, name: str) -> None:
    config = override(Config(), {"optim.layer_decay": 0.5, "optim.name": name}).optim
    optimizer = build_optimizer(network, config, batch_size=256)
    assert set_lr(optimizer, 0.2, 0.5) == pytest.approx(0.1)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert min(rates) == pytest.approx(0.1 * 0.5**8)
    assert max(rates) == pytest.approx(0.1)


def test_without_a_decay_all_layers_share_two_groups(network: torch.nn.Module) -> None:
    assert len(parameter_groups(network, 0.1)) == 2


def test_the_record_has_the_learning_rate_of_the_head(tiny: Config, digits: Splits) -> None:
    def rates(layer_decay: float) -> list[float]:
        config = override(tiny, {"optim.layer_decay": layer_decay})
        return [record.metrics["train/lr"] for record in islice(fit(config, digits), 2)]

    assert rates(0.5) == rates(1.0)
