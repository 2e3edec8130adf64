"""Test images dealt to a few blocks, whose leaving out tells how uncertain a measure is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from supcon.images.split import Split
from supcon.seeds import derive_seed

Ints = npt.NDArray[np.int64]

MOST = 30
"""Blocks: enough for a variance, and few enough that measures without one are soon computed."""


def count_units(split: Split) -> int:
    """What can be dealt: groups where images come in groups, else images."""
    return len(split) if split.groups is None else len(np.unique(split.groups))


def deal(split: Split, n_blocks: int, *, by_class: bool = True) -> Ints:
    """(N,) block of each image, always the same for the same images.

    Args:
        split: images; groups are dealt whole, the largest first, each to the smallest block.
        n_blocks: J, at most as many as there are images or groups.
        by_class: images of each class are spread evenly; without groups only.
    """
    rng = np.random.default_rng(derive_seed("blocks"))
    if split.groups is not None:
        return _dealt_whole(split.groups, n_blocks, rng)
    labels = split.labels if by_class else np.zeros_like(split.labels)
    order = np.lexsort((rng.permutation(len(labels)), labels))  # class by class, shuffled within
    blocks = np.empty(len(labels), dtype=np.int64)
    blocks[order] = np.arange(len(labels)) % n_blocks
    return blocks


def _dealt_whole(groups: Ints, n_blocks: int, rng: np.random.Generator) -> Ints:
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    block_of, loads = np.empty(len(sizes), dtype=np.int64), np.zeros(n_blocks, dtype=np.int64)
    for g in np.lexsort((rng.permutation(len(sizes)), -sizes)):
        block_of[g] = loads.argmin()
        loads[block_of[g]] += sizes[g]
    return block_of[group]
