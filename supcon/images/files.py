"""Image files as an array of pictures: squares of 8-bit RGB, decoded when they are looked at.

How one is decoded is in `supcon.images.decoding`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

from supcon.images.decoding import Pixels, Reading, read_image
from supcon.listing.listing import FILES, Reader
from supcon.parsing import UserError

BLOCK = 1024  # files that are decoded together where each is looked at once


class ImageFiles:
    """Reads like an array (N, size, size, 3) uint8 along its first axis, and keeps no picture."""

    def __init__(
        self, root: Path, names: npt.NDArray[np.bytes_], reading: Reading, reader: Reader = FILES
    ) -> None:
        """`names` are (N,) paths under `root`, `reading` says how they become pictures."""
        self.root, self.names, self.reading, self.reader = root, names, reading, reader

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, size, size, 3)."""
        return len(self), self.reading.size, self.reading.size, 3

    def __getitem__(self, chosen: slice | npt.NDArray[np.intp]) -> Pixels:
        """The chosen pictures.

        Raises:
            UserError: a file cannot be read, or is no image.
        """
        pixels, broken = self.decode(chosen)
        for i in sorted(broken):
            raise broken[i]
        return pixels

    def decode(
        self, chosen: slice | npt.NDArray[np.intp] = slice(None)
    ) -> tuple[Pixels, dict[int, UserError]]:
        """The chosen pictures, and by their place among these what is wrong with broken ones."""
        files = self.paths(chosen)
        pixels = np.zeros((len(files), *self.shape[1:]), dtype=np.uint8)
        broken: dict[int, UserError] = {}

        # Decoding releases the GIL. A loader's worker is one of several, and has no threads to use.
        threads = 1 if get_worker_info() is not None else torch.get_num_threads()

        def decode(first: int) -> None:
            for i in range(first, len(files), threads):
                try:
                    pixels[i] = read_image(files[i], self.reading, self.reader)
                except UserError as error:
                    broken[i] = error

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(threads)))
        return pixels, dict(sorted(broken.items()))

    def broken(self) -> dict[int, UserError]:
        """What is wrong with broken files, by their index; all are decoded in a small size."""
        reading = replace(self.reading, size=min(8, self.reading.size))
        small = ImageFiles(self.root, self.names, reading, self.reader)
        found: dict[int, UserError] = {}
        for start in range(0, len(small), BLOCK):
            _, problems = small.decode(slice(start, start + BLOCK))
            found |= {start + i: problem for i, problem in problems.items()}
        return found

    def take(self, indices: npt.NDArray[np.intp]) -> ImageFiles:
        """The files at `indices`."""
        return ImageFiles(self.root, self.names[indices], self.reading, self.reader)

    def paths(self, chosen: slice | npt.NDArray[np.intp] = slice(None)) -> list[Path]:
        """Where the chosen pictures are."""
        return [self.root / os.fsdecode(name) for name in self.names[chosen]]

    def identity(self) -> Iterator[bytes]:
        """Names and lengths of the files: what stands for their content where it is hashed."""
        for name, path in zip(self.names, self.paths(), strict=True):
            yield b"%s %d\n" % (name, self.reader.length(path))

    def contents(self) -> Iterator[bytes]:
        """Names, lengths and bytes of the files, one after the other.

        Raises:
            UserError: a file cannot be read.
        """
        for name, path in zip(self.names, self.paths(), strict=True):
            try:
                content = self.reader.read(path)
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror}); repair it") from None
            yield b"%s %d\n" % (name, len(content))
            yield content


Images = Pixels | ImageFiles
"""(N, H, W, C) uint8, decoded or not; a slice or an index array gives pixels."""
