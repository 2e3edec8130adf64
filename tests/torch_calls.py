"""Calls of torch that would wait for a GPU, and calls in all; no GPU is needed to see them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

import supcon

OURS = str(Path(supcon.__file__).parent)
WAITING = {
    "__array__",
    "__bool__",
    "__contains__",
    "__float__",
    "__index__",
    "__int__",
    "allclose",
    "argwhere",
    "bincount",
    "cpu",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "numpy",
    "tolist",
    "unique",
    "unique_consecutive",
}  # fmt: skip
"""Methods and functions that need a value, or give as many as values say."""
MADE_ON_THE_CPU = frozenset({"torch.tensor", "torch.as_tensor", "torch.Tensor.new_tensor"})
FREE = {
    "unsqueeze",
    "view",
    "_unsafe_view",
    "t",
    "transpose",
    "permute",
    "expand",
    "slice",
    "select",
    "unbind",
    "detach",
    "alias",
    "squeeze",
    "split",
    "split_with_sizes",
    "as_strided",
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "unfold",
    "_reshape_alias",
    "lift_fresh",
    "set_",
    "resize_",
    "diagonal",
    "unflatten",
}
"""Views and bare allocations: nothing runs on the device."""


class Waits(TorchFunctionMode):
    """Notes every call that would wait for a GPU, with the line of the project that it is for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each call of torch's Python interface."""
        kwargs = kwargs or {}
        name = resolve_name(func) or ""
        if (
            name.rpartition(".")[2] in WAITING
            or (name in MADE_ON_THE_CPU and kwargs.get("device") is not None)
            or (name == "torch.where" and len(args) == 1)
            or ("__getitem__" in name and _by_mask(args[1]))
            or ("__setitem__" in name and _by_mask(args[1]) and _is_many(args[2]))
        ):
            self._note(name)
        return func(*args, **kwargs)

    def _note(self, name: str) -> None:
        frame = sys._getframe(2)
        while (file := frame.f_code.co_filename).find("/torch/") > 0 and frame.f_back is not None:
            frame = frame.f_back
        if file.startswith(OURS):
            self.found[f"{name} at {file.removeprefix(OURS)}:{frame.f_lineno}"] += 1


class Calls(TorchDispatchMode):
    """Counts the calls that give a device something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each of torch's operators."""
        space, _, name = str(func).partition(".")
        if space == "aten" and name.partition(".")[0] not in FREE:
            self.counts[name] += 1
        return func(*args, **kwargs or {})


def _by_mask(index: Any) -> bool:
    """Whether what is chosen depends on values, or on a list that is copied to the device."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        isinstance(part, list) or (isinstance(part, Tensor) and part.dtype == torch.bool)
        for part in parts
    )


def _is_many(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() > 1
