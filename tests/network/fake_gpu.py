"""A run on a GPU that is not there: which tensors would meet on different devices, and which waits.

    python -m tests.network.fake_gpu    # half a minute; ends with 1 if something is found

torch is made to believe in a GPU, and the project's own code makes steps on tensors that have a
shape and a device, but no numbers (FakeTensorMode): an operation on tensors of two devices raises,
and one that needs a number is named with the line that asked for it. Gradients are made up, since
a backward pass asks for a driver; evaluation, which looks at numbers, is not run.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from supcon.config import Config, override
from supcon.images.split import Split, Splits
from supcon.network import models
from supcon.train import Run

WAYS: dict[str, dict[str, Any]] = {
    "supcon": {},
    "ce": {"loss.name": "ce", "loss.logit_adjustment": 1.0},
    "sincere": {"loss.name": "sincere"},
    "simclr": {"loss.name": "simclr"},
    "all of the augmentation": {
        "augment.rotation": 20.0,
        "augment.blur": 0.5,
        "augment.cutout": 0.3,
    },
    "randaugment": {"augment.policy": "randaugment"},
    "trivialaugment": {"augment.policy": "trivialaugment"},
    "mixed views": {"augment.mixup": 0.2, "augment.cutmix": 1.0},
    "both losses, mixed": {"loss.name": "supcon_ce", "augment.cutmix": 1.0},
    "a balanced sampler": {"data.sampler": "balanced"},
    "fp32, adamw": {"run.precision": "fp32", "optim.name": "adamw"},
    "a transformer": {"model.backbone": "test_vit", "data.image_size": 32},
}


class CudaGenerator(torch.Generator):
    """A CPU's generator that says it is a GPU's."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it claims to be."""
        return torch.device("cuda", 0)


class Faults(TorchDispatchMode):
    """Notes what waits for the device; torch's fake tensors raise where devices differ."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each of torch's operators."""
        if "fused_" in str(func):  # optimisers' kernels have no fake ones
            return None
        try:
            return func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            self.found.append(f"{func} waits, at {ours(traceback.extract_stack())}")
            return 1


def ours(stack: traceback.StackSummary) -> str:
    """The project's line that is last in a stack."""
    frames = [frame for frame in stack if "/supcon/" in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown line"


def images(n: int, size: int) -> Splits:
    """Random ones, of three colours and ten classes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    split = Split(pixels, np.arange(n) % 10)
    return Splits(split, split.take(np.arange(100)), tuple(map(str, range(10))))


@contextmanager
def gpu() -> Iterator[FakeTensorMode]:
    """While it lasts, torch sees a GPU, and tensors are fake."""
    properties = SimpleNamespace(total_memory=80 * 2**30, major=9, minor=0, name="fake")
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_properties": lambda *_: properties,
        "is_bf16_supported": lambda *_: True,
        "_lazy_init": lambda: None,
    }
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    generator, from_numpy = torch.Generator, torch.from_numpy

    def make(device: Any = "cpu") -> torch.Generator:
        is_cuda = torch.device(device).type == "cuda"
        return CudaGenerator() if is_cuda else generator(device)

    def network_for(config: Config, data: Splits) -> nn.Module:
        with _disable_current_modes(), mock.patch.object(torch, "from_numpy", from_numpy):
            network = models.network_for(config, data)
        return on_gpu(network)

    def fake_from_numpy(array: Any) -> Any:
        return mode.from_tensor(from_numpy(np.ascontiguousarray(array)))

    torch._C._ensureCUDADeviceGuardSet()
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(torch, "Generator", make))
        stack.enter_context(mock.patch.object(torch, "from_numpy", fake_from_numpy))
        stack.enter_context(mock.patch("supcon.train.network_for", network_for))
        stack.enter_context(
            mock.patch.object(FakeTensorMode, "avoid_device_init", property(lambda _: True))
        )
        stack.enter_context(mode)
        yield mode


def on_gpu(network: nn.Module) -> nn.Module:
    """The network with fake parameters and buffers there, laid out as they were."""
    for module in network.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(alike(parameter))
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = alike(buffer)
    network.to = lambda *_: network  # type: ignore[method-assign]
    return network


def alike(tensor: torch.Tensor) -> torch.Tensor:
    """A fake tensor on the GPU."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")


def faults_of(changes: dict[str, Any], steps: int = 2) -> list[str]:
    """What goes wrong in the first steps of a run."""
    fixed = {"data.name": "cifar10", "data.batch_size": 64, "run.device": "cuda"}
    config = override(Config(), fixed | {"data.pipeline": "resident"} | changes)
    splits, faults = images(320, 32), Faults()
    with warnings.catch_warnings(), gpu():
        warnings.simplefilter("ignore")
        run = Run(config, splits)
        run.network.train()
        batches = iter(run.loader(1))
        try:
            with faults:
                for views, labels in islice(batches, steps):
                    with run.autocast():
                        outputs = run.forward(views)
                    run.loss(outputs, labels)
                    for parameter in run.network.parameters():
                        parameter.grad = torch.empty_like(parameter)
                    run.optimizer.step()
                    run.averages.after_step(run.network)
        except RuntimeError as error:
            where = ours(traceback.extract_tb(error.__traceback__))
            return [*faults.found, f"{error}, at {where}"]
    return faults.found


def main() -> int:
    """A line for each way to train, and one for each fault."""
    n_faults = 0
    for name, changes in WAYS.items():
        found = faults_of(changes)
        n_faults += len(found)
        print(f"{name}: {'nothing' if not found else ''}", *found, sep="\n  ", flush=True)
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
