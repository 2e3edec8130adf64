"""Thumbnails: small squares of images, many of them in one JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from supcon.images.decoding import Pixels
from supcon.intake.pictures import Preprocessing, decoded

COLUMNS = 32  # tiles in a row of a sheet, and rows of it
QUALITY = 80
GREY = 128
BLOCK = 256  # files that are decoded at once
SMALL, LARGE = 32, 64  # sides: multiples of 16, so that no block of a JPEG lies in two tiles
FEW = 4000  # images that have large ones


def side_of(preprocessing: Preprocessing, images: int) -> int:
    """Side of a tile in pixels: of many images, or of tiny ones, a small one will do."""
    return LARGE if preprocessing.size >= LARGE and images <= FEW else SMALL


def small(pixels: Pixels, side: int) -> Pixels:
    """(N, S, S, C) images as tiles (N, side, side, 3): the larger ones averaged, the smaller ones
    shown by their pixels.
    """
    n, size, _, channels = pixels.shape
    made = np.empty((n, side, side, 3), dtype=np.uint8)
    how = Image.Resampling.BOX if size > side else Image.Resampling.NEAREST
    for tile, image in zip(made, pixels, strict=True):
        picture = Image.fromarray(image if channels == 3 else image[..., 0]).convert("RGB")
        tile[:] = np.asarray(picture if size == side else picture.resize((side, side), how))
    return made


def grey(n: int, side: int) -> Pixels:
    """Tiles of images that are not there."""
    return np.full((n, side, side, 3), GREY, dtype=np.uint8)


def read_tiles(
    paths: Iterable[Path], preprocessing: Preprocessing, side: int
) -> tuple[Pixels, dict[int, str]]:
    """Tiles of files, as the encoder sees them; of those that cannot be read grey ones.

    Returns:
        (N, side, side, 3), and why one could not be read by its number.
    """
    found, first = [grey(0, side)], 0
    errors: dict[int, str] = {}
    for block in decoded(paths, preprocessing, size=BLOCK):
        tiles = grey(len(block.paths), side)
        tiles[block.places] = small(block.pixels, side)
        found.append(tiles)
        errors |= {first + i: why for i, why in block.errors.items()}
        first += len(block.paths)
    return np.concatenate(found), errors


def sheets(tiles: Pixels) -> list[str]:
    """Tiles, `COLUMNS` x `COLUMNS` in a JPEG, row by row, as data URIs."""
    _, side, _, _ = tiles.shape
    each, made = COLUMNS * COLUMNS, []
    for first in range(0, len(tiles), each):
        some = tiles[first : first + each]
        rows = -(-len(some) // COLUMNS)
        sheet = grey(rows * COLUMNS, side)
        sheet[: len(some)] = some
        grid = sheet.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2)
        made.append(as_jpeg(np.ascontiguousarray(grid.reshape(rows * side, COLUMNS * side, 3))))
    return made


def as_jpeg(pixels: Pixels) -> str:
    """An (H, W, 3) picture as a data URI."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
