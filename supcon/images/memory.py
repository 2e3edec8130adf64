"""Whether images in files may be decoded once and kept: what they take, and what is free."""

from __future__ import annotations

import math
from collections.abc import Sequence

from supcon.config import DataConfig
from supcon.images.split import Split
from supcon.machine import free_memory
from supcon.parsing import UserError

RESIDENT_SHARE = 4  # images have room if they take at most 1 / so much of the free memory


def is_resident(config: DataConfig, splits: Sequence[Split]) -> bool:
    """Whether images in files are to be decoded once and kept.

    Args:
        config: `pipeline` decides; auto keeps images that have room.
        splits: all that would be kept together.

    Raises:
        UserError: the config asks for it, and they take more than half of the free memory.
    """
    if config.pipeline == "auto":
        return has_room_for(splits)
    needed, free = decoded_bytes(splits), free_memory()
    if config.pipeline == "resident" and needed > free // 2:
        raise UserError(
            f"data.pipeline: resident keeps all images decoded, which takes "
            f"{needed / 2**30:.1f} GiB, more than half of the free memory "
            f"({free / 2**30:.1f} GiB); free some of it, or choose streaming, or a smaller "
            f"data.image_size"
        )
    return config.pipeline == "resident"


def has_room_for(splits: Sequence[Split]) -> bool:
    """Whether the splits, decoded, take at most a quarter of the free memory."""
    return decoded_bytes(splits) <= free_memory() // RESIDENT_SHARE


def decoded_bytes(splits: Sequence[Split]) -> int:
    """What the pixels of the splits take together, as uint8."""
    return sum(math.prod(split.images.shape) for split in splits)
