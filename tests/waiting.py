"""Counts what torch is asked to do, and where the host would wait for a GPU; none is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal"),  # item, tolist, bool, float
    *("nonzero", "masked_select", "bincount"),  # how large the result is depends on values
    *("_unique2", "unique_dim", "unique_consecutive"),
}


class Calls(TorchDispatchMode):
    """While it is entered, counts operations by name; those that only look at a tensor are none."""

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
        self.made[name] += not func.is_view
        by_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for indices in args[1:2]
            if isinstance(indices, (list, tuple))
            for index in indices
        )
        self.waits += name in WAITING or by_mask
        return func(*args, **(kwargs or {}))
