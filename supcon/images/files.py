"""Image files as an array of pictures: squares of 8-bit RGB, decoded when they are looked at.

JPEGs are decoded by simplejpeg (libjpeg-turbo), those that are much too large in a reduced size.
Images a second on one CPU thread: of 32 pixels 94,000 (OpenCV 73,000, torchvision 55,000, Pillow
18,000); of 500x375 pixels to a side of 64 1,500 (1,200, 1,200, 760), and to 224, where resizing by
Pillow takes most of the time, 610 (Pillow alone 610). All others, and JPEGs out of the ordinary,
are Pillow's from file to square.
"""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import Image, ImageOps
from torch.utils.data import get_worker_info

from supcon.listing.listing import FILES, Reader
from supcon.parsing import UserError

Pixels = npt.NDArray[np.uint8]

REDUCING_GAP = 2  # a decoder's coarse reduction stops at so many times the size, as Pillow's does
ORIENTATION = 0x0112  # of Exif
BLOCK = 1024  # files that are decoded together where each is looked at once


class ImageFiles:
    """Reads like an array (N, size, size, 3) uint8 along its first axis, and keeps no picture."""

    def __init__(
        self, root: Path, names: npt.NDArray[np.bytes_], size: int, reader: Reader = FILES
    ) -> None:
        """`names` are (N,) paths under `root`, `size` is the side of a picture in pixels."""
        self.root, self.names, self.size, self.reader = root, names, size, reader

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, size, size, 3)."""
        return len(self), self.size, self.size, 3

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
                    pixels[i] = read_image(files[i], self.size, self.reader)
                except UserError as error:
                    broken[i] = error

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(threads)))
        return pixels, dict(sorted(broken.items()))

    def broken(self) -> dict[int, UserError]:
        """What is wrong with broken files, by their index; all are decoded in a small size."""
        small, found = copy.copy(self), dict[int, UserError]()
        small.size = min(8, self.size)
        for start in range(0, len(small), BLOCK):
            _, problems = small.decode(slice(start, start + BLOCK))
            found |= {start + i: problem for i, problem in problems.items()}
        return found

    def take(self, indices: npt.NDArray[np.intp]) -> ImageFiles:
        """The files at `indices`."""
        return ImageFiles(self.root, self.names[indices], self.size, self.reader)

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


def read_image(path: Path, size: int, reader: Reader = FILES) -> Pixels:
    """A picture, its shorter side resized to `size` and its centre cropped: (size, size, 3).

    Raises:
        UserError: the file cannot be read, or is no image.
    """
    try:
        content = reader.read(path)
        if (pixels := _decode_plain_jpeg(content, size)) is not None:
            if pixels.shape[:2] == (size, size):
                return pixels
            upright = Image.fromarray(pixels)
        else:
            with Image.open(io.BytesIO(content)) as image:
                upright = _eight_bit(ImageOps.exif_transpose(image)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(path), "").replace(" ''", "")
        raise UserError(f"{path}: not a readable image ({reason}); repair or remove it") from None
    return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))


def _decode_plain_jpeg(content: bytes, size: int) -> Pixels | None:
    """(H, W, 3) pixels, H and W at least twice `size` if the file's are; None: no plain JPEG."""
    if not content.startswith(b"\xff\xd8") or not _is_upright(content):
        return None
    with suppress(ValueError):  # damaged, or unknown to libjpeg-turbo: Pillow decides
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space in ("RGB", "YCbCr", "Gray") and height * width <= (Image.MAX_IMAGE_PIXELS or 0):
            enough = REDUCING_GAP * size
            return simplejpeg.decode_jpeg(content, "RGB", min_height=enough, min_width=enough)
    return None


def _is_upright(content: bytes) -> bool:
    if b"Exif\0\0" not in content:
        return True
    with Image.open(io.BytesIO(content)) as image:  # reads the header only
        return image.getexif().get(ORIENTATION, 1) == 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; `convert` would clip it at 255, almost all white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image
