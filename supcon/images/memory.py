"""How much memory images may take."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from supcon.config import DataConfig
from supcon.images.split import Split
from supcon.parsing import UserError

RESIDENT_SHARE = 4  # `auto` decodes a folder once if that takes at most 1 / so much of free memory


def is_resident(config: DataConfig, splits: Sequence[Split]) -> bool:
    """Whether images in files are to be decoded once and kept."""
    needed, free = sum(math.prod(split.images.shape) for split in splits), free_memory()
    if config.pipeline == "auto":
        return needed <= free // RESIDENT_SHARE
    if config.pipeline == "resident" and needed > free // 2:
        raise UserError(
            f"data.pipeline: resident keeps all images decoded, which takes "
            f"{needed / 2**30:.1f} GiB, more than half of the free memory "
            f"({free / 2**30:.1f} GiB); free some of it, or choose streaming, or a smaller "
            f"data.image_size"
        )
    return config.pipeline == "resident"


def free_memory() -> int:
    """Bytes of this machine's memory that can be had, those of the page cache included."""
    with suppress(OSError, StopIteration):  # Linux tells
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
