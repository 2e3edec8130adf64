"""Marks: the library's hash bit for bit, and what sets a picture off from others."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageOps

from supcon.audit.marks import ONE_COLOUR, detail_of, grey_of, low_frequencies, marks_of, thumbnails
from supcon.images.decoding import Pixels
from tests.images.pictures import photo


def by_imagehash(image: Image.Image) -> int:
    return int(str(imagehash.phash(image)), 16)


@pytest.mark.parametrize("side", [16, 32, 48, 200])
def test_the_hash_is_that_of_imagehash_and_so_is_that_of_the_mirror_image(side: int) -> None:
    images = [photo(side, side, seed) for seed in range(20)]
    marks = marks_of(np.stack([np.asarray(image) for image in images]))
    assert [int(h) for h in marks["hash"]] == [by_imagehash(image) for image in images]
    ours = np.array([int(h) for h in marks["mirrored"]], dtype=np.uint64)
    mirrors = np.array([by_imagehash(ImageOps.mirror(i)) for i in images], dtype=np.uint64)
    assert np.bitwise_count(ours ^ mirrors).max() <= 2  # which frequency is the median


def test_grey_pictures_are_marked_as_coloured_ones_of_the_same_grey() -> None:
    grey = np.asarray(photo(24, 24).convert("L"))[None, ..., None]
    assert marks_of(grey)["hash"] == marks_of(grey.repeat(3, axis=3))["hash"]


def test_grey_is_that_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    assert np.array_equal(grey_of(pixels)[0], np.asarray(Image.fromarray(pixels[0]).convert("L")))


def test_digests_are_equal_for_equal_pixels_alone() -> None:
    picture = np.asarray(photo(16, 16))
    other = picture.copy()
    other[3, 4, 1] ^= 1
    digests = [tuple(d) for d in marks_of(np.stack([picture, other, picture]))["digest"].tolist()]
    assert digests[0] == digests[2] != digests[1]


def test_one_colour_is_told_from_nearly_one() -> None:
    pixels: Pixels = np.full((3, 16, 16, 3), (200, 10, 10), dtype=np.uint8)
    pixels[1, 0, 0, 0] -= 1
    pixels[2] = np.arange(16, dtype=np.uint8)[:, None]
    assert marks_of(pixels)["flags"].tolist() == [ONE_COLOUR, 0, 0]


def test_detail_is_what_lies_beyond_the_frequencies_of_the_hash() -> None:
    x = (np.arange(32) + 0.5) / 32
    waves = np.stack([np.cos(np.pi * k * x)[None, :].repeat(32, 0) for k in (3, 7, 8, 20)])
    details = np.sqrt((detail_of(waves) ** 2).mean((1, 2)))
    assert details == pytest.approx([0, 0, 0.5**0.5, 0.5**0.5])
    assert np.abs(low_frequencies(waves)).max((1, 2)).round(9).tolist() == [
        pytest.approx(32 / 2**0.5),
        pytest.approx(32 / 2**0.5),
        0,
        0,
    ]
    pixels = (128 + 100 * waves).round().astype(np.uint8)[..., None]
    found = marks_of(pixels)["detail"]
    assert found[:2].max() < 0.5
    assert found[2:] == pytest.approx([100 / 2**0.5] * 2, rel=0.01)


def test_thumbnails_of_no_picture_are_none() -> None:
    assert thumbnails(np.zeros((0, 50, 50, 3), dtype=np.uint8)).shape == (0, 32, 32, 3)
    assert len(marks_of(np.zeros((0, 50, 50, 3), dtype=np.uint8))) == 0
