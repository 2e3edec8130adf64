"""Files in blocks: each one's outcome is listed, whatever it is."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supcon.images.decoding import read_image
from supcon.intake.pictures import Block, Preprocessing, as_pixels, decoded
from tests.bundled import odd_files

COLOUR = Preprocessing(size=8, fit="crop", background="black", channels=3)


def outcomes(blocks: list[Block]) -> dict[str, str]:
    found = {}
    for block in blocks:
        for i, path in enumerate(block.paths):
            found[path.name] = block.errors.get(i) or block.notes.get(i) or "read"
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("size", "ahead"), [(4, 2), (100, 0)])
def test_every_kind_of_file_has_its_outcome_in_its_place(
    tmp_path: Path, size: int, ahead: int
) -> None:
    expected = odd_files(tmp_path)
    paths = [tmp_path / name for name in expected]
    with warnings.catch_warnings(record=True) as warned:
        blocks = [*decoded(paths, COLOUR, size=size, ahead=ahead)]
    assert warned == []
    assert [path for block in blocks for path in block.paths] == paths
    assert [len(block.paths) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    found = outcomes(blocks)
    for name, outcome in expected.items():
        assert found[name].startswith(outcome), (name, found[name])
        assert "\n" not in found[name]
    for block in blocks:
        assert len(block.places) == len(block.pixels) == len(block.paths) - len(block.errors)
        for place, pixels in zip(block.places, block.pixels, strict=True):
            if block.paths[place].name == "huge.png":  # decoded once is enough
                continue
            assert np.array_equal(pixels, read_image(block.paths[place], COLOUR.reading))


def test_files_are_asked_for_as_they_are_needed(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    asked = itertools.count()
    endless = (tmp_path / "x.png" for _ in asked)
    blocks = decoded(endless, COLOUR, size=3, ahead=2)
    next(blocks)
    next(blocks)
    assert next(asked) <= 4 * 3 + 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA", "1"])
def test_a_model_of_grey_images_gets_one_channel(tmp_path: Path, mode: str) -> None:
    grey = COLOUR.model_copy(update={"channels": 1})
    picture = Image.linear_gradient("L").resize((8, 8)).convert("RGB").convert(mode)
    picture.save(tmp_path / "x.tif")
    (block,) = decoded([tmp_path / "x.tif"], grey, size=9)
    assert block.pixels.shape == (1, 8, 8, 1)
    assert np.array_equal(as_pixels(tmp_path / "x.tif", grey), block.pixels)
    assert np.array_equal(as_pixels(picture, grey), block.pixels)


def test_images_of_other_sizes_are_fitted_as_files_are(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "x.png")
    for fit in ("crop", "squeeze", "pad"):
        shape = COLOUR.model_copy(update={"fit": fit})
        assert np.array_equal(as_pixels(array, shape), as_pixels(tmp_path / "x.png", shape))
