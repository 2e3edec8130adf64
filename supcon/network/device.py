"""Where a run computes, and in which precision."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from supcon.parsing import UserError

Autocast = Callable[[], AbstractContextManager[object]]


def pick_device(name: str) -> torch.device:
    """The device that a config asks for; `auto` is cuda where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device: cuda was asked for, but torch finds no GPU; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def precision_tools(name: str, device: torch.device) -> tuple[Autocast, torch.amp.GradScaler]:
    """Autocast context and gradient scaler; both do nothing in fp32, the scaler also in bf16.

    `auto` is a function of the device alone: bf16 on a GPU that has it, else fp32.
    """
    if name == "auto":  # False: not where bf16 is merely emulated, in software
        name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"
    dtype = torch.float16 if name == "fp16" else torch.bfloat16
    autocast = partial(torch.autocast, device.type, dtype=dtype, enabled=name != "fp32")
    return autocast, torch.amp.GradScaler(device.type, enabled=name == "fp16")


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network as one compiled function of its parameters, which stay where they are.

    What was compiled is kept on disk: other trials of the same network on this machine need
    seconds where the first one needs a minute.
    """
    cache = Path("~/.cache/supcon-search/compiled").expanduser()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    return torch.compile(network)
