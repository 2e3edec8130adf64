"""Where a run computes, in which precision, and how long that takes."""

from __future__ import annotations

import os
import re
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from supcon.parsing import UserError

Autocast = Callable[[], AbstractContextManager[object]]
DRIVER = Path("/proc/driver/nvidia/version")


def usable_gpus() -> int:
    """GPUs that torch can compute on: none where the driver is too old for it."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_driver() -> None:
    """Whether torch can use the GPUs that this process sees, if it sees any.

    Raises:
        UserError: it cannot, as when their driver is too old.
    """
    with warnings.catch_warnings(record=True) as said:  # torch says why in a warning
        warnings.simplefilter("always")
        n_seen = torch.cuda.device_count()
        if n_seen == 0 or torch.cuda.is_available():
            return
    why = f"; torch says: {str(said[-1].message).partition('. ')[0]}" if said else ""
    raise UserError(
        f"GPU: there {'is 1' if n_seen == 1 else f'are {n_seen}'}, but the driver "
        f"({driver_version()}) does not serve torch {torch.__version__}, which was built for CUDA "
        f"{torch.version.cuda}{why}; update the driver, install a torch for an older CUDA, or "
        f"train on the CPU (a search: --gpus-per-trial 0; else run.device: cpu)"
    )


def check_gpu() -> None:
    """Whether torch can use the GPU that this process was given: it must not train on the CPU.

    Raises:
        UserError: it cannot, with the driver's version.
    """
    check_driver()
    if not torch.cuda.is_available():
        raise UserError(
            f"GPU: this process was given one on {socket.gethostname()}, but torch "
            f"{torch.__version__}, built for CUDA {torch.version.cuda}, finds none (driver "
            f"{driver_version()}); start Ray there with --num-gpus=0, install a torch for CUDA, or "
            f"train on the CPU (--gpus-per-trial 0)"
        )


def driver_version(file: Path = DRIVER) -> str:
    """That of NVIDIA's kernel module, such as `470.57.02`."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(\.\d+)+)", file.read_text(encoding="ascii"))
    except OSError:
        found = None
    return found[1] if found else "of unknown version"


def pick_device(name: str) -> torch.device:
    """The device that a config asks for; `auto` is cuda where there is one.

    Args:
        name: auto, cpu or cuda.

    Raises:
        UserError: cuda, where there is none; or a GPU that is to be used and cannot be.
    """
    if name != "cpu":
        check_driver()
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device: cuda was asked for, but torch finds no GPU; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def settled_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; auto is a function of the device alone: bf16 on a GPU that has it."""
    if name != "auto":
        return name  # False: not where bf16 is merely emulated, in software
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"


def precision_tools(name: str, device: torch.device) -> tuple[Autocast, torch.amp.GradScaler]:
    """Autocast context and gradient scaler; both do nothing in fp32, the scaler also in bf16.

    Args:
        name: fp32, bf16, fp16, or auto.
        device: where to compute.
    """
    name = settled_precision(name, device)
    dtype = torch.float16 if name == "fp16" else torch.bfloat16
    autocast = partial(torch.autocast, device.type, dtype=dtype, enabled=name != "fp32")
    return autocast, torch.amp.GradScaler(device.type, enabled=name == "fp16")


def send(images: Tensor, device: torch.device) -> Tensor:
    """Images of the host on `device`; the copy to a GPU is queued, and nothing waits for it."""
    if device.type == "cuda":
        return images.pin_memory().to(device, non_blocking=True)
    return images.to(device)


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network as one compiled function of its parameters, which stay where they are.

    What was compiled is kept on disk: other trials of the same network on this machine need
    seconds where the first one needs a minute.
    """
    cache = Path("~/.cache/supcon-search/compiled").expanduser()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    # What a run before this one compiled here would count against it: after 8 graphs torch gives up
    # in silence, and after two shapes it compiles for any, which is slower.
    torch.compiler.reset()
    return torch.compile(network, dynamic=False)


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """How long a call takes, until `device` has done what it was given.

    Args:
        call: what is timed.
        device: where it computes. A GPU, which only queues its work, is waited for before and
            after: what was queued before is not of the call.
    """
    _wait_for(device)
    started = time.perf_counter()
    call()
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
