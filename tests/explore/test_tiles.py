"""Thumbnails in sheets."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supcon.explore.tiles import COLUMNS, read_tiles, sheets, side_of, small
from supcon.intake.pictures import Preprocessing

SHAPE = Preprocessing(size=16, fit="crop", background="white", channels=3)


def test_a_tile_lies_in_its_sheet_by_row_and_column_and_keeps_its_colours() -> None:
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, size=(COLUMNS * COLUMNS + 40, 3)).astype(np.uint8)
    tiles = np.broadcast_to(colours[:, None, None], (len(colours), 32, 32, 3))
    found = sheets(np.ascontiguousarray(tiles))
    assert len(found) == 2
    for i in (0, 31, 32, 500, 1023, 1024, 1063):
        prefix, _, content = found[i // 1024].partition(",")
        assert prefix == "data:image/jpeg;base64"
        sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)
        row, column = divmod(i % 1024, COLUMNS)
        tile = sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32][1:-1, 1:-1]
        assert np.abs(tile - colours[i]).max() <= 6, (
            i
        )  # a JPEG rounds, and interpolates at the edge


def test_large_pictures_are_averaged_and_small_ones_shown_by_their_pixels() -> None:
    large = np.zeros((1, 64, 64, 3), np.uint8)
    large[:, ::2] = 200
    assert set(small(large, 32).ravel()) == {100}
    tiny = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    shown = small(tiny, 32)
    assert shown.shape == (1, 32, 32, 3)
    assert (shown[0, ::4, ::4] == tiny[0]).all()


def test_of_a_file_that_cannot_be_read_the_tile_is_grey_and_the_reason_is_known(
    tmp_path: Path,
) -> None:
    Image.new("RGB", (20, 20), (200, 0, 0)).save(tmp_path / "a.png")
    paths = [tmp_path / "none.png", tmp_path / "a.png"]
    tiles, errors = read_tiles(paths, SHAPE, 32)
    assert (tiles[0] == 128).all()
    assert (tiles[1] == (200, 0, 0)).all()
    assert list(errors) == [0]


@pytest.mark.parametrize(
    ("size", "images", "side"), [(224, 100, 64), (224, 9000, 32), (32, 100, 32), (8, 100, 32)]
)
def test_few_images_have_large_tiles(size: int, images: int, side: int) -> None:
    assert side_of(SHAPE.model_copy(update={"size": size}), images) == side
