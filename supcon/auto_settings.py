"""What `auto` means on this machine: found out once, before training, and written into the config.

Training itself decides by neither stopwatch nor free memory, so a config in which nothing is `auto`
gives the same numbers whenever it runs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from supcon.config import Config, override
from supcon.images.files import ImageFiles
from supcon.images.split import Splits
from supcon.network.device import (
    Autocast,
    pick_device,
    precision_tools,
    seconds_of,
    settled_precision,
)
from supcon.network.models import network_for

STEPS = 2  # timed in each precision, in turn, after one that warms up
IMAGES = 64  # in a timed step
GAIN = 1.1  # bf16 must be so many times faster; it rounds, and that should buy something


def settle(
    config: Config, data: Splits, backbones: Iterable[str] = (), *, on_gpu: bool = False
) -> dict[str, str]:
    """`data.pipeline` and `run.precision` as they are on this machine, where they are `auto`.

    Args:
        config: what a run, or all trials of a search, start from.
        data: its images, as `load_splits` gave them.
        backbones: those that a search draws; all get one precision. Default: the config's.
        on_gpu: whether training gets a GPU of some machine; its precision is a function of that
            GPU and stays `auto`.

    Returns:
        Changes to the config, by dotted key.
    """
    changes = {}
    if config.data.pipeline == "auto":
        is_streamed = isinstance(data.train.images, ImageFiles)
        changes["data.pipeline"] = "streaming" if is_streamed else "resident"
    if config.run.precision == "auto" and not on_gpu:
        device = pick_device(config.run.device)
        if device.type == "cpu":
            backbones = list(backbones) or [config.model.backbone]
            each = [override(config, {"model.backbone": name}) for name in backbones]
            changes["run.precision"] = _faster_on_cpu(each, data)
        else:
            changes["run.precision"] = settled_precision("auto", device)
    return changes


def describe(config: Config, data: Splits) -> str:
    """`resident, 154 MB; precision bf16`: how images reach the network, and what it computes in;
    `; memory cached, 256 views at once`, where activations are made again.

    Args:
        config: of a run.
        data: its images.
    """
    images = [data.train.images, data.val.images]
    if any(isinstance(some, ImageFiles) for some in images):
        where = "streamed from files"
    else:
        where = f"{config.data.pipeline}, {sum(some[:].nbytes for some in images) / 1e6:.0f} MB"
    memory = f"; memory {config.run.memory}" if config.run.recomputes else ""
    if config.run.memory == "cached":
        memory += f", {config.run.micro_batch} views at once"
    return f"{where}; precision {config.run.precision}{memory}"


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 by instructions of its own (AVX-512 BF16 or AMX).

    One that merely emulates them is ten times slower than in fp32, and is not worth a probe.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _faster_on_cpu(configs: Iterable[Config], data: Splits) -> str:
    """bf16 or fp32: dense networks gain from bf16, depthwise convolutions lose."""
    if not cpu_has_bf16():
        return "fp32"
    images = torch.tensor(data.train.images[:IMAGES]).permute(0, 3, 1, 2)
    seconds = {"fp32": 0.0, "bf16": 0.0}
    for config in configs:
        for precision, spent in _seconds_a_step(network_for(config, data), images).items():
            seconds[precision] += spent
    return "bf16" if seconds["fp32"] > GAIN * seconds["bf16"] else "fp32"


def _seconds_a_step(network: nn.Module, images: Tensor) -> dict[str, float]:
    """Time of a forward and backward pass in either precision, the shortest of a few."""
    times: dict[str, list[float]] = {"fp32": [], "bf16": []}
    network = copy.deepcopy(network).train()
    for _ in range(1 + STEPS):
        for precision, spent in times.items():
            autocast, _ = precision_tools(precision, images.device)
            step = partial(_forward_and_back, network, images, autocast)
            spent.append(seconds_of(step, images.device))
            network.zero_grad()
    return {precision: min(spent[1:]) for precision, spent in times.items()}


def _forward_and_back(network: nn.Module, images: Tensor, autocast: Autocast) -> None:
    with autocast():
        outputs = network(images)
    outputs.float().square().mean().backward()
