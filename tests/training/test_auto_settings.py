"""What `auto` is found to mean, and that it is written down."""

from __future__ import annotations

import pytest
import torch

from search.preflight.checks import settle_space
from search.space.loading import parse_space
from supcon import auto_settings as auto
from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.network.models import network_for


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Filled with the backbones that were timed: resnets gain from bf16, others lose."""
    names: list[str] = []

    def seconds(network: torch.nn.Module, images: torch.Tensor) -> dict[str, float]:
        names.append(type(network.encoder.backbone).__name__)  # type: ignore[union-attr]
        return {"fp32": 1.0, "bf16": 0.5 if names[-1] == "ResNet" else 3.0}

    monkeypatch.setattr(auto, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(auto, "_seconds_a_step", seconds)
    return names


def test_what_the_config_says_is_left_alone(
    tiny: Config, digits: Splits, probed: list[str]
) -> None:
    for pipeline in ("resident", "streaming"):
        changes = {"data.pipeline": pipeline, "run.precision": "fp32"}
        assert auto.settle(override(tiny, changes), digits) == {}
    assert probed == []


def test_a_cpu_gets_the_precision_that_is_faster(
    tiny: Config, digits: Splits, probed: list[str]
) -> None:
    assert auto.settle(tiny, digits) == {"data.pipeline": "resident", "run.precision": "bf16"}
    other = override(tiny, {"model.backbone": "test_efficientnet"})
    assert auto.settle(other, digits)["run.precision"] == "fp32"
    assert probed == ["ResNet", "EfficientNet"]


def test_all_backbones_of_a_search_count(tiny: Config, digits: Splits, probed: list[str]) -> None:
    names = ["test_resnet", "test_efficientnet"]
    assert auto.settle(tiny, digits, names)["run.precision"] == "fp32"
    assert probed == ["ResNet", "EfficientNet"]


def test_a_cpu_without_bf16_is_not_asked(
    tiny: Config, digits: Splits, probed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "cpu_has_bf16", lambda: False)
    assert auto.settle(tiny, digits)["run.precision"] == "fp32"
    assert probed == []


def test_the_probe_times_both_precisions_and_leaves_the_network_alone(
    tiny: Config, digits: Splits
) -> None:
    network = network_for(tiny, digits)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.tensor(digits.train.images[:4]).permute(0, 3, 1, 2)
    seconds = auto._seconds_a_step(network, images)
    assert set(seconds) == {"fp32", "bf16"}
    assert min(seconds.values()) > 0
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_precision_of_trials_on_gpus_is_theirs_to_find(
    tiny: Config, digits: Splits, probed: list[str]
) -> None:
    assert auto.settle(tiny, digits, on_gpu=True) == {"data.pipeline": "resident"}
    space = parse_space(
        {
            "name": "x",
            "base": {"run": {"epochs": 20}},
            "params": {"optim.momentum": {"uniform": [0.5, 0.9]}},
            "budget": {"trials": 2},
            "resources": {"gpu": 0.5},
        },
        "x",
    )
    assert settle_space(space, digits).config.run.precision == "auto"
    assert probed == []


def test_a_search_writes_what_it_found_into_its_space(
    tiny: Config, digits: Splits, probed: list[str]
) -> None:
    space = parse_space(
        {
            "name": "x",
            "base": {"data": {"name": "digits"}, "run": {"epochs": 20}},
            "params": {"model.backbone": {"choice": ["test_resnet", "resnet10t"]}},
            "budget": {"trials": 2},
        },
        "x",
    )
    settled = settle_space(space, digits)
    assert (settled.config.data.pipeline, settled.config.run.precision) == ("resident", "bf16")
    assert probed == ["ResNet", "ResNet"]
    assert settled.config.run.epochs == 20
    assert settle_space(settled, digits) == settled  # as when a study is resumed
    assert parse_space(settled.dump(), "x") == settled
    for arm in settled.arms:
        trial = settled.trial_config(arm, {"model.backbone": "resnet10t"}, seed=1)
        assert (trial.data.pipeline, trial.run.precision) == ("resident", "bf16")


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ("plain", "precision fp32"),
        ("checkpoint", "precision fp32; memory checkpoint"),
        ("cached", "precision fp32; memory cached, 256 views at once"),
    ],
)
def test_what_a_run_does_to_get_by_with_memory_is_said(
    tiny: Config, digits: Splits, memory: str, said: str
) -> None:
    changes = {"data.pipeline": "resident", "run.precision": "fp32", "run.memory": memory}
    assert auto.describe(override(tiny, changes), digits).partition("; ")[2] == said
