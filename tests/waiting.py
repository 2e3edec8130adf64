"""Counts what torch is asked to do, and where the host would wait for a GPU; none is needed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

import supcon

WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal"),  # item, tolist, bool, float
    *("nonzero", "masked_select", "bincount"),  # how large the result is depends on values
    *("_unique2", "unique_dim", "unique_consecutive"),
}

OURS = str(Path(supcon.__file__).parent)
NEEDS_A_VALUE = {
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


class Calls(TorchDispatchMode):
    """While it is entered, counts operations by name; to look at or allocate a tensor is none."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[str] = Counter()
        self.waits = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count a call, and make it."""
        name = func.overloadpacket.__name__
        self.made[name] += not (func.is_view or name.startswith("empty"))
        by_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for indices in args[1:2]
            if isinstance(indices, (list, tuple))
            for index in indices
        )
        self.waits += name in WAITING or by_mask
        return func(*args, **(kwargs or {}))


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
            name.rpartition(".")[2] in NEEDS_A_VALUE
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


def _by_mask(index: Any) -> bool:
    """Whether what is chosen depends on values, or on a list that is copied to the device."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        isinstance(part, list) or (isinstance(part, Tensor) and part.dtype == torch.bool)
        for part in parts
    )


def _is_many(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() > 1
