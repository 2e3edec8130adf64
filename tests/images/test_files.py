"""Image files as arrays: the same pixels as Pillow's, and nothing kept in memory."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from supcon.images.decoding import Pixels, Reading, read_image
from supcon.images.files import ImageFiles
from supcon.images.loading import load_test
from supcon.parsing import UserError
from tests.images.pictures import folder, photo, pixels


def by_pillow(path: Path, size: int) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), method=3))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 33), (20, 25)])
def test_a_jpeg_has_the_pixels_that_pillow_gives_it(
    tmp_path: Path, mode: str, height: int, width: int
) -> None:
    path = tmp_path / "x.jpg"
    photo(height, width).convert(mode).save(path, quality=90)
    assert np.array_equal(read_image(path, Reading(32)), by_pillow(path, 32))


@pytest.mark.parametrize("size", [16, 50, 64])
def test_a_large_jpeg_reduced_by_its_decoder_looks_the_same(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.jpg"
    photo(304, 416).save(path, quality=90)
    difference = read_image(path, Reading(size)).astype(int) - by_pillow(path, size)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_a_jpeg_photo_is_turned_upright(tmp_path: Path, orientation: int | None) -> None:
    path, upright = tmp_path / "x.jpg", photo(24, 24)
    turns = {None: 0, 1: 0, 3: 180, 6: 90, 8: 270}
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    if orientation is not None:
        exif[0x0112] = orientation
    upright.rotate(turns[orientation]).save(path, quality=95, subsampling=0, exif=exif)
    assert np.abs(read_image(path, Reading(24)).astype(int) - np.asarray(upright)).mean() < 5


@pytest.mark.parametrize("kept", [10, 300, -30])
def test_a_cut_off_jpeg_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.jpg"
    photo(32, 32).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError) as error:
        read_image(path, Reading(32))
    assert str(error.value).startswith(f"{path}: not a readable image (")
    assert str(error.value).endswith("; repair or remove it")


def test_files_are_indexed_like_the_array_of_their_pictures(files: ImageFiles) -> None:
    array = files[:]
    assert array.shape == files.shape == (5, 16, 16, 3)
    assert array.dtype == np.uint8
    assert [
        np.array_equal(array[i], read_image(p, Reading(16))) for i, p in enumerate(files.paths())
    ] == ([True] * 5)
    for chosen in (slice(1, 4), slice(4, 9), np.array([3, 0, 3]), np.array([], dtype=int)):
        assert np.array_equal(files[chosen], array[chosen])
    assert np.array_equal(files.take(np.array([4, 2]))[:], array[[4, 2]])
    assert np.array_equal(pickle.loads(pickle.dumps(files))[:], array)


def test_threads_change_nothing(files: ImageFiles) -> None:
    alone = files[:]
    torch.set_num_threads(3)
    try:
        assert np.array_equal(files[:], alone)
    finally:
        torch.set_num_threads(1)


def test_all_broken_files_are_found_and_the_others_can_still_be_looked_at(
    files: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.images.files.BLOCK", 2)
    assert files.broken() == {}
    whole = files[:]
    for i in (3, 1):
        files.paths()[i].write_bytes(b"no picture")
    assert [*files.broken()] == [1, 3]
    assert "3.jpeg: not a readable image" in str(files.broken()[3])
    pixels, broken = files.decode()
    assert [*broken] == [1, 3]
    assert np.array_equal(pixels[[0, 2, 4]], whole[[0, 2, 4]])
    with pytest.raises(UserError, match=r"1\.png: not a readable image"):
        files[:]


def test_the_identity_of_files_tells_a_changed_from_an_equal_folder(files: ImageFiles) -> None:
    before = b"".join(files.identity())
    assert b"".join(files.identity()) == before
    files.paths()[0].write_bytes(files.paths()[0].read_bytes() + b"x")
    assert b"".join(files.identity()) != before


def test_grey_palette_and_transparent_images_become_rgb(images: Path) -> None:
    folder_of_cats = images / "test/cat"
    shutil.rmtree(folder_of_cats)
    folder_of_cats.mkdir()
    Image.new("L", (9, 9), 77).save(folder_of_cats / "0.png")
    Image.new("RGBA", (9, 9), (10, 20, 30, 255)).save(folder_of_cats / "1.png")
    Image.new("RGB", (9, 9), (0, 0, 255)).quantize(4).save(folder_of_cats / "2.gif")
    found = pixels(load_test(folder(images)))[:3, 4, 4].tolist()
    assert found == [[77, 77, 77], [10, 20, 30], [0, 0, 255]]


def test_sixteen_bit_images_keep_their_grey_levels(images: Path) -> None:
    levels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(images / "test/cat/0.png")
    loaded = pixels(load_test(folder(images)))[0, :, :, 0]
    assert np.abs(loaded.astype(int) - np.linspace(0, 255, 64).reshape(8, 8)).max() <= 1


def test_an_image_is_cropped_to_its_centre_and_not_squeezed(images: Path) -> None:
    wide = np.zeros((16, 48, 3), dtype=np.uint8)
    wide[:, 16:32] = 255
    Image.fromarray(wide).save(images / "test/cat/0.png")
    assert pixels(load_test(folder(images)))[0].min() > 200


def test_a_photo_is_turned_upright(images: Path) -> None:
    sideways = np.zeros((16, 16, 3), dtype=np.uint8)
    sideways[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise by 90 degrees
    Image.fromarray(sideways).save(images / "test/cat/0.png", exif=exif)
    upright = pixels(load_test(folder(images)))[0]
    assert upright[:3].min() > 200
    assert upright[-3:].max() < 50
