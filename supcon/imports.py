"""Imports of large libraries in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def that_last() -> Iterator[None]:
    """What is imported inside stays for good, so no garbage is looked for among it meanwhile.

    Of torch, timm and ray.tune (5.5 s of a CPU) that was a quarter.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
