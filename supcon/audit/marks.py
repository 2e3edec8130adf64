"""What is kept of each picture to find its copies: 37 bytes, made of its pixels alone.

The hash is pHash, bit for bit that of `imagehash.phash` (a test holds that), of a block of pictures
at once and with that of the mirrored picture: one CPU thread marks 55,000 pictures a second of 32
pixels; imagehash alone, twice for each picture, would take it down to 9,700.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from supcon.images.decoding import Pixels

SIDE = 32  # of the thumbnails that are hashed
LOW = 8  # frequencies along each side that the hash sees; what lies beyond is a picture's detail
ONE_COLOUR, TRANSPARENT, ANIMATED = 1, 2, 4

MARK = np.dtype(
    [("digest", "<u8", 2), ("hash", "<u8"), ("mirrored", "<u8"), ("detail", "<f4"), ("flags", "u1")]
)
"""digest: of the pixels; hash, mirrored: pHash of the picture and of its mirror image; detail: how
far its grey levels (0 to 255) lie from those of its low frequencies, root mean square."""

Marks = npt.NDArray[np.void]
"""(N,) of `MARK`."""
Floats = npt.NDArray[np.float64]


def marks_of(pixels: Pixels) -> Marks:
    """The marks of (n, H, W, C) pictures, without what only their files tell."""
    marks = np.zeros(len(pixels), MARK)
    if not len(pixels):
        return marks
    for mark, picture in zip(marks, pixels, strict=True):
        mark["digest"] = digest(picture)
    flat = pixels.reshape(len(pixels), -1, pixels.shape[3])
    marks["flags"] = ONE_COLOUR * (flat == flat[:, :1]).all((1, 2))
    grey = grey_of(thumbnails(grey_of(pixels)[..., None])).astype(np.float64)
    low = low_frequencies(grey)
    energy = (grey**2).sum((1, 2)) - (low**2).sum((1, 2))
    marks["detail"] = np.sqrt(energy.clip(0)) / SIDE
    marks["hash"] = _bits(low)
    marks["mirrored"] = _bits(low * (-1.0) ** np.arange(LOW))  # odd waves change sign
    return marks


def digest(picture: Pixels) -> tuple[int, int]:
    """128 bits that are equal for equal pixels."""
    found = hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest()
    return int.from_bytes(found[:8], "little"), int.from_bytes(found[8:], "little")


def grey_of(pixels: Pixels) -> Pixels:
    """(n, H, W) luma of (n, H, W, C), as Pillow has it."""
    if pixels.shape[3] == 1:
        return pixels[..., 0]
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), 3, 0)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def thumbnails(pixels: Pixels) -> Pixels:
    """(n, SIDE, SIDE, C) of (n, H, W, C)."""
    if pixels.shape[1:3] == (SIDE, SIDE):
        return pixels
    small = np.empty((len(pixels), SIDE, SIDE, pixels.shape[3]), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
        resized = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        small[i] = resized.reshape(SIDE, SIDE, -1)
    return small


def low_frequencies(grey: Floats) -> Floats:
    """(n, LOW, LOW) of the orthonormal cosine transform of (n, SIDE, SIDE)."""
    waves = _waves()
    return waves @ grey @ waves.T


def detail_of(grey: Floats) -> Floats:
    """(n, SIDE, SIDE) without what the hash sees."""
    waves = _waves()
    return grey - waves.T @ low_frequencies(grey) @ waves


@cache
def _waves() -> Floats:
    """(LOW, SIDE), each of length 1."""
    waves = np.cos(np.pi * np.arange(LOW)[:, None] * (np.arange(SIDE) + 0.5) / SIDE)
    return waves / np.sqrt((waves**2).sum(1, keepdims=True))


def _bits(low: Floats) -> npt.NDArray[np.uint64]:
    """pHash: which frequencies are above their median."""
    scale = np.where(np.arange(LOW) == 0, np.sqrt(2), 1)  # imagehash's waves differ in length
    flat = (low * scale * scale[:, None]).reshape(-1, LOW * LOW)
    is_high = flat > np.median(flat, axis=1, keepdims=True)
    return np.packbits(is_high, axis=1).view(">u8")[:, 0].astype(np.uint64)
