"""The marks of all images of several sets: streamed, on all cores, those of files remembered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
from torch.utils.data import DataLoader, Dataset

from supcon.audit.cache import read_cache, stamps_of, write_cache
from supcon.audit.marks import ANIMATED, MARK, TRANSPARENT, Marks, marks_of
from supcon.images.decoding import read_picture
from supcon.images.files import ImageFiles, Images
from supcon.listing.listing import FILES
from supcon.machine import cores
from supcon.parsing import UserError

BLOCK = 256  # pictures that are decoded and marked together
BLOCK_BYTES = 2**24  # or fewer, where they are large
WORTH = 32  # blocks for each process: with fewer, starting it takes longer than it saves


def mark_all(sets: Sequence[Images], workers: int | None = None) -> list[Marks]:
    """The marks of each set, in its order; files that were marked before are not read again.

    Args:
        sets: (N, H, W, C) images each, decoded or in files.
        workers: processes that help; None: as many as are worth it, at most one for each core.

    Raises:
        UserError: a file cannot be read, or is no image.
    """
    found: list[Marks] = []
    todo = []
    stamps = [stamps_of(images) if _is_on_disk(images) else None for images in sets]
    for images, stamp in zip(sets, stamps, strict=True):
        is_known, marks = np.zeros(len(images), dtype=bool), np.zeros(len(images), MARK)
        if isinstance(images, ImageFiles) and stamp is not None:
            is_known, marks = read_cache(images, stamp)
        found.append(marks)
        todo.append(np.flatnonzero(~is_known))
    blocks = _Blocks(sets, todo)
    for (which, chosen), marks in zip(blocks.blocks, _streamed(blocks, workers), strict=True):
        found[which][chosen] = marks
    for images, stamp, new, marks in zip(sets, stamps, todo, found, strict=True):
        if isinstance(images, ImageFiles) and stamp is not None and len(new):
            write_cache(images, stamp, marks)
    return found


def _is_on_disk(images: Images) -> TypeGuard[ImageFiles]:
    """Whether each image has a file, with a time of change."""
    return isinstance(images, ImageFiles) and images.reader is FILES


class _Blocks(Dataset[Marks | str]):
    """Item k is the marks of block k, or what is wrong with it: errors lose their kind on the way
    out of a process.
    """

    def __init__(self, sets: Sequence[Images], todo: Sequence[np.ndarray]) -> None:
        self.sets = sets
        self.blocks = [
            (which, indices[start : start + size])
            for which, (images, indices) in enumerate(zip(sets, todo, strict=True))
            for size in [max(1, min(BLOCK, BLOCK_BYTES // math.prod(images.shape[1:])))]
            for start in range(0, len(indices), size)
        ]

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, k: int) -> Marks | str:
        which, chosen = self.blocks[k]
        images = self.sets[which]
        try:
            return (
                _of_files(images.take(chosen))
                if isinstance(images, ImageFiles)
                else marks_of(images[chosen])
            )
        except UserError as error:
            return str(error)


def _of_files(files: ImageFiles) -> Marks:
    pictures = [read_picture(path, files.reading, files.reader) for path in files.paths()]
    marks = marks_of(np.stack([picture.pixels for picture in pictures]))
    for flag, is_so in (
        (TRANSPARENT, [picture.is_transparent for picture in pictures]),
        (ANIMATED, [picture.is_animated for picture in pictures]),
    ):
        marks["flags"] |= np.where(is_so, flag, 0).astype(np.uint8)
    return marks


def _streamed(blocks: _Blocks, workers: int | None) -> Iterator[Marks]:
    if workers is None:
        workers = min(cores(), len(blocks) // WORTH)
    loader = DataLoader(
        blocks, batch_size=None, num_workers=workers if workers > 1 else 0, collate_fn=_unchanged
    )
    for marks in loader:
        if isinstance(marks, str):
            raise UserError(marks)
        yield marks


def _unchanged(marks: Any) -> Any:
    return marks
