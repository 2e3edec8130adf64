"""Image files as arrays: the same pixels as Pillow's, and nothing kept in memory."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from supcon.config import Config, override
from supcon.images.files import ImageFiles, Pixels, read_image
from supcon.images.loading import load_splits
from supcon.images.split import Split
from supcon.parsing import UserError
from supcon.train import fit


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, as in a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    noisy = (smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255)
    return Image.fromarray(noisy.astype(np.uint8))


def by_pillow(path: Path, size: int) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), method=3))


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Five pictures in several formats and sizes."""
    names = ["0.jpg", "1.png", "2.jpg", "3.jpeg", "4.bmp"]
    for i, name in enumerate(names):
        photo(20 + i, 30 - 3 * i, seed=i).save(tmp_path / name)
    return ImageFiles(tmp_path, np.array(names, dtype=np.bytes_), 16)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 33), (20, 25)])
def test_a_jpeg_has_the_pixels_that_pillow_gives_it(
    tmp_path: Path, mode: str, height: int, width: int
) -> None:
    path = tmp_path / "x.jpg"
    photo(height, width).convert(mode).save(path, quality=90)
    assert np.array_equal(read_image(path, 32), by_pillow(path, 32))


@pytest.mark.parametrize("size", [16, 50, 64])
def test_a_large_jpeg_reduced_by_its_decoder_looks_the_same(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.jpg"
    photo(304, 416).save(path, quality=90)
    difference = read_image(path, size).astype(int) - by_pillow(path, size)
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
    assert np.abs(read_image(path, 24).astype(int) - np.asarray(upright)).mean() < 5


@pytest.mark.parametrize("kept", [10, 300, -30])
def test_a_cut_off_jpeg_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.jpg"
    photo(32, 32).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError) as error:
        read_image(path, 32)
    assert str(error.value).startswith(f"{path}: not a readable image (")
    assert str(error.value).endswith("; repair or remove it")


def test_files_are_indexed_like_the_array_of_their_pictures(files: ImageFiles) -> None:
    array = files[:]
    assert array.shape == files.shape == (5, 16, 16, 3)
    assert array.dtype == np.uint8
    assert [np.array_equal(array[i], read_image(p, 16)) for i, p in enumerate(files.paths())] == (
        [True] * 5
    )
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


def test_a_broken_file_is_found_by_checking_all(files: ImageFiles) -> None:
    files.check()
    files.paths()[3].write_bytes(b"no picture")
    files[:3]  # the others can still be looked at
    with pytest.raises(UserError, match=r"3\.jpeg: not a readable image"):
        files.check()


def test_the_identity_of_files_tells_a_changed_from_an_equal_folder(files: ImageFiles) -> None:
    before = b"".join(files.identity())
    assert b"".join(files.identity()) == before
    files.paths()[0].write_bytes(files.paths()[0].read_bytes() + b"x")
    assert b"".join(files.identity()) != before


# Training from files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30 pictures, told apart by brightness."""
    root = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", 30), ("test", 2)):
        for label, name in enumerate(("dark", "light")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                picture = np.asarray(photo(20, 24, seed=label * 100 + i)) // 2 + 128 * label
                Image.fromarray(picture).save(root / part / name / f"{i}.jpg")
    return root


def config(tiny: Config, root: Path, **data: Any) -> Config:
    changes: dict[str, Any] = {"data.name": "folder", "data.root": str(root)}
    changes |= {"data.train_size": None, "data.batch_size": 10, "probe.views": 1}
    changes |= {"run.epochs": 2, "average.bn_images": 20}
    return override(tiny, changes | {f"data.{key}": value for key, value in data.items()})


def test_a_folder_is_streamed_if_it_is_too_big_or_if_that_is_asked_for(
    tiny: Config, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_streamed(pipeline: str) -> bool:
        data = load_splits(config(tiny, folder, pipeline=pipeline).data)
        kinds = {isinstance(split.images, ImageFiles) for split in (data.train, data.val)}
        assert len(kinds) == 1
        return kinds.pop()

    found = {pipeline: is_streamed(pipeline) for pipeline in ("auto", "resident", "streaming")}
    assert found == {"auto": False, "resident": False, "streaming": True}
    needed = 60 * 16 * 16 * 3
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 4 * needed - 1)
    assert is_streamed("auto")
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 4 * needed)
    assert not is_streamed("auto")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_from_files_is_a_run_from_memory(tiny: Config, folder: Path, workers: int) -> None:
    settings = config(tiny, folder, pipeline="streaming", workers=workers)
    streamed = load_splits(settings.data)
    assert isinstance(streamed.train.images, ImageFiles)
    decoded = type(streamed)(streamed.train.decoded(), streamed.val.decoded(), streamed.classes)
    assert streamed.train.channel_statistics == decoded.train.channel_statistics
    assert list(fit(settings, streamed)) == list(fit(settings, decoded))


def test_statistics_of_many_files_are_those_of_some(
    files: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.images.split.STATISTICS_IMAGES", 2)
    seen: list[int] = []
    look = ImageFiles.__getitem__

    def spy(self: ImageFiles, chosen: Any) -> Pixels:
        seen.append(len(look(self, chosen)))
        return look(self, chosen)

    monkeypatch.setattr(ImageFiles, "__getitem__", spy)
    mean, std = Split(files, np.zeros(5, dtype=np.int64)).channel_statistics
    assert sum(seen) == 2
    assert all(0 < value < 1 for value in mean + std)
