"""What a training step takes of memory, counted without taking it; the mode in which it fits.

Network and images are moved to torch's `meta` device, where tensors have a shape and no numbers; a
step is taken there, and the bytes that are alive at once are added up as torch makes and drops
tensors. In fp32 the sum is that of the same step on a CPU, within 1 % (tests hold it); half
precision is reckoned as half of it. A library's own buffers are not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.machine import free_memory
from supcon.network.device import pick_device, precision_tools
from supcon.network.models import Network, network_for
from supcon.parsing import UserError
from supcon.recipe.recomputation import in_micro_batches, unchanged_buffers

MODES = "plain", "checkpoint", "cached"  # of run.memory, the fastest first
COPIES = 4  # of each weight in fp32, beside its gradient: itself, momentum, EMA, SWA
LOSS_MATRICES = 6  # (N, N) in fp32 that a contrastive loss of N views has at once (5.3 to 5.9)
MARGIN = 1.25  # on top of what was counted


class LiveTensors(TorchDispatchMode):
    """While it is entered: counts the bytes of tensors that torch makes, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.peak = 0, 0
        self._known = weakref.WeakSet[torch.UntypedStorage]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each of its functions."""
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and (storage := each.untyped_storage()) not in self._known:
                self._known.add(storage)
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return made

    def _add(self, n: int) -> None:
        self.bytes += n
        self.peak = max(self.peak, self.bytes)


def settle_memory(configs: Iterable[Config], data: Splits, part: float = 1.0) -> dict[str, str]:
    """`run.memory` as it is on this machine, where it is `auto`.

    Args:
        configs: of runs that get one mode, at least one; on the same images and device.
        data: their images.
        part: of what is free now, that one run may take.

    Returns:
        Changes to the config, by dotted key.
    """
    configs = [config for config in configs if config.run.memory == "auto"]
    if not configs:
        return {}
    device = pick_device(configs[0].run.device)
    return {"run.memory": mode_that_fits(configs, data, device, int(part * free_bytes(device)))}


def step_bytes(config: Config, data: Splits, device: torch.device) -> int:
    """Bytes of weights, their averages, optimiser and one step, at the most.

    Args:
        config: of a run; `run.memory: auto` counts as plain.
        data: its images, whose size counts.
        device: where it would compute, which says what `run.precision: auto` is.

    Raises:
        UserError: the network cannot be built, or not with this `run.memory`.
        RuntimeError: a step of it looks at the numbers that tensors hold.
    """
    network = network_for(config, data)
    with precision_tools(config.run.precision, device)[0]():
        is_half = torch.is_autocast_enabled(device.type)
    views = config.data.batch_size * config.augment.views
    # Micro-batches go one after the other: two of them take as much as a hundred.
    counted = min(views, 2 * config.run.micro_batch) if config.run.memory == "cached" else views
    weights = sum(p.numel() for p in network.parameters()) * 4
    side, _, channels = data.train.images.shape[1:]
    images = torch.empty(counted, channels, side, side, device="meta")
    step = _peak_of_step(network.to("meta"), images, config)
    loss = LOSS_MATRICES * 4 * views**2 if config.loss.is_contrastive else 0
    around = COPIES * weights + 4 * views * channels * side**2 + loss
    return around + ((step + weights) // 2 if is_half else step)  # gradients stay in fp32


def _peak_of_step(network: Network, images: Tensor, config: Config) -> int:
    """Bytes alive at once in a step in fp32, gradients of the weights included."""
    is_cached, micro_batch = config.run.memory == "cached", config.run.micro_batch
    embed = in_micro_batches(network, micro_batch) if is_cached else network
    with LiveTensors() as live:
        loss = embed(images).square().mean()
        with unchanged_buffers(network) if config.run.recomputes else nullcontext():
            loss.backward()
    return live.peak


def free_bytes(device: torch.device) -> int:
    """Bytes that this process can still have on a device."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return free_memory()


def modes(config: Config) -> list[str]:
    """What `run.memory` may become, the fastest first."""
    if config.run.memory != "auto":
        return [config.run.memory]
    is_cut = config.data.batch_size * config.augment.views > config.run.micro_batch
    return list(MODES if is_cut else MODES[:-1])


def mode_that_fits(configs: Iterable[Config], data: Splits, device: torch.device, room: int) -> str:
    """The first mode of `run.memory` in which each config fits, plain if none can be counted.

    Args:
        configs: of runs, on the same images.
        data: their images.
        device: where they would compute.
        room: bytes that one of them may have.

    Returns:
        Where none is counted as fitting, cached, which takes least.
    """
    configs = list(configs)
    for mode in MODES:
        try:
            each = [override(config, {"run.memory": mode}) for config in configs]
            if all(MARGIN * step_bytes(config, data, device) <= room for config in each):
                return mode
        except UserError:  # timm offers no checkpoints for it; others were built before
            continue
        except RuntimeError:  # it cannot be counted
            return "plain"
    return MODES[-1]
