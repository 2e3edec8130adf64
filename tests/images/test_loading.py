"""Splits: who gets which image, and what is said when images are missing, broken or too few."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from supcon.config import DataConfig
from supcon.images.files import Pixels
from supcon.images.loading import check_test, load_splits, load_test
from supcon.images.memory import free_memory
from supcon.images.split import Split
from supcon.parsing import UserError

COLOURS = {"cat": (200, 30, 30), "dog": (30, 30, 200), "owl": (20, 180, 20)}


def pixels(split: Split) -> Pixels:
    return split.images[:]


def contents(split: Split) -> Counter[bytes]:
    return Counter(image.tobytes() for image in pixels(split))


def digits(**changes: Any) -> DataConfig:
    return DataConfig(**({"name": "digits"} | changes))


def folder(root: Path, **changes: Any) -> DataConfig:
    options = {"name": "folder", "root": root, "image_size": 8, "val_size": 3}
    return DataConfig(**(options | changes))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three classes, each with 4 train and 2 test images of its colour in several formats."""
    for part, count in (("train", 4), ("test", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                size = (20 + 7 * i, 30 - 5 * i)
                path = tmp_path / part / name / f"{i}.{('png', 'jpg', 'JPEG', 'bmp')[i]}"
                Image.new("RGB", size, colour).save(path, quality=95)
    return tmp_path


# Digits


def test_every_digit_is_in_exactly_one_of_train_val_and_test() -> None:
    config = digits(image_size=8)
    splits, test = load_splits(config), load_test(config)
    everything = Split(
        (load_digits().images * (255 / 16)).round().astype(np.uint8)[..., None],
        load_digits().target,
    )
    assert contents(splits.train) + contents(splits.val) + contents(test) == contents(everything)


def test_digits_are_grey_uint8_images_of_the_asked_size() -> None:
    assert pixels(load_splits(digits()).train).shape[1:] == (16, 16, 1)
    images = pixels(load_splits(digits(image_size=24)).val)
    assert images.shape[1:] == (24, 24, 1)
    assert images.dtype == np.uint8
    assert images.max() > 200


def test_val_and_test_are_stratified() -> None:
    splits, test = load_splits(digits(val_size=0.25)), load_test(digits())
    train, val = np.bincount(splits.train.labels), np.bincount(splits.val.labels)
    assert np.abs(val - 0.25 * (train + val)).max() <= 1
    everything = np.bincount(load_digits().target)
    assert np.abs(np.bincount(test.labels) - 0.2 * everything).max() <= 1


def test_the_split_is_a_function_of_its_seed() -> None:
    first, again, other = (load_splits(digits(split_seed=seed)) for seed in (3, 3, 4))
    assert np.array_equal(pixels(first.val), pixels(again.val))
    assert np.array_equal(first.train.labels, again.train.labels)
    assert contents(first.val) != contents(other.val)


def test_the_test_images_are_the_same_for_every_seed_and_val_size() -> None:
    first, second = load_test(digits()), load_test(digits(split_seed=5, val_size=0.5))
    assert np.array_equal(pixels(first), pixels(second))
    assert np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize(("val_size", "n_val"), [(0.2, 287), (0.5, 718), (100, 100), (10, 10)])
def test_val_size_is_a_fraction_or_a_count(val_size: float, n_val: int) -> None:
    splits = load_splits(digits(val_size=val_size))
    assert len(splits.val) == n_val
    assert len(splits.train) == 1437 - n_val


def test_train_size_takes_some_of_the_training_images_and_leaves_val_alone() -> None:
    everything, some = load_splits(digits()), load_splits(digits(train_size=200))
    assert len(some.train) == 200
    assert np.bincount(some.train.labels).min() >= 19
    assert contents(some.train) < contents(everything.train)
    assert np.array_equal(pixels(some.val), pixels(everything.val))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_size": 19}, "data.train_size must be at least 20 (2 a class), got 19"),
        ({"train_size": 1284}, "data.train_size must be at most 1283 "),
        ({"train_size": 1293}, "leave it out to use all images; got 1293"),
        ({"val_size": 9}, "10 to 1427 of 1437 images, got 9"),
        ({"val_size": 0.001}, "10 to 1427 of 1437 images, got 1"),
        ({"val_size": 1428}, "10 to 1427 of 1437 images, got 1428"),
        ({"val_size": 5000}, "10 to 1427 of 1437 images, got 5000"),
        ({"val_size": 0.999}, "10 to 1427 of 1437 images, got 1436"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_splits(digits(**changes))
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"data.{next(iter(changes))} must ")
    assert message in line


# Image folders


def test_a_folder_is_read_in_order_of_class_and_name(images: Path) -> None:
    test = load_test(folder(images))
    assert pixels(test).shape == (6, 8, 8, 3)
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = np.array([colour for colour in COLOURS.values() for _ in range(2)])
    assert np.abs(pixels(test).astype(int) - expected[:, None, None]).max() <= 3  # JPEG

    splits = load_splits(folder(images))
    assert splits.classes == ("cat", "dog", "owl")
    assert len(splits.train) == 9
    assert sorted(splits.val.labels) == [0, 1, 2]
    train = np.array(list(COLOURS.values()))[splits.train.labels]
    assert np.abs(pixels(splits.train).astype(int) - train[:, None, None]).max() <= 3


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


def test_a_val_folder_of_ones_own_is_used_as_it_is(images: Path) -> None:
    shutil.copytree(images / "test", images / "val")
    splits = load_splits(folder(images))
    assert splits.val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(pixels(splits.val), pixels(load_test(folder(images))))
    assert len(splits.train) == 12


def test_hidden_files_and_those_that_are_no_images_by_name_are_passed_over(images: Path) -> None:
    (images / "train/cat/notes.txt").write_text("four cats")
    (images / "train/README.md").write_text("animals")
    (images / "train/cat/._0.png").write_bytes(b"what a Mac leaves behind")
    (images / "train/.thumbnails").mkdir()
    (images / "test/.thumbnails").mkdir()
    splits = load_splits(folder(images))
    assert splits.classes == ("cat", "dog", "owl")
    assert len(splits.train) == 9
    assert len(load_test(folder(images))) == 6


def test_streamed_images_are_found_from_any_folder(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.parent)
    streamed = load_splits(folder(Path(images.name), pipeline="streaming"))
    monkeypatch.chdir("/")  # as workers may have another one
    streamed.check()


def test_a_home_directory_in_the_root_is_expanded(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(images.parent))
    assert len(load_test(folder(Path("~") / images.name))) == 6


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _keep_one(folder: Path) -> None:
    for path in sorted(folder.iterdir())[1:]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def _add_class(root: Path, name: str) -> None:
    shutil.copytree(root / "test/dog", root / name)


@pytest.mark.parametrize(
    ("spoil", "where", "message"),
    [
        (lambda r: shutil.rmtree(r), "data.root: {r}/train", "is missing; a folder data set has"),
        (lambda r: _truncate(r / "train/cat/0.png"), "{r}/train/cat/0.png", "not a readable image"),
        (lambda r: _truncate(r / "train/owl/1.jpg"), "{r}/train/owl/1.jpg", "repair or remove it"),
        (
            lambda r: _write(r / "train/dog/9.png", b"a dog"),
            "{r}/train/dog/9.png",
            "not a readable",
        ),
        (lambda r: _write(r / "train/dog/9.jpg", b""), "{r}/train/dog/9.jpg", "not a readable"),
        (
            lambda r: Image.new("F", (9, 9)).save(r / "train/dog/9.tif"),
            "{r}/train/dog/9.tif",
            "floating-point pixels",
        ),
        (
            lambda r: _keep_one(r / "train/owl"),
            "class 'owl'",
            "has 1 training image(s), at least 2 are needed",
        ),
        (lambda r: (r / "train/eel").mkdir(), "class 'eel'", "has 0 training image(s)"),
        (lambda r: _add_class(r, "val/xyz"), "{r}/val/xyz", "class 'xyz' is not in train/"),
        (lambda r: _add_class(r, "val/dog"), "class 'cat'", "has no image in val"),
        (lambda r: (r / "val").mkdir(), "{r}/val", "holds no images (.bmp, .gif"),
        (
            lambda r: _keep_one(r / "train"),
            "{r}/train",
            "at least 2 class folders are needed, got 1",
        ),
    ],
)
def test_a_spoilt_folder_is_refused_in_one_line_that_names_the_place(
    images: Path, spoil: Callable[[Path], object], where: str, message: str
) -> None:
    spoil(images)
    with pytest.raises(UserError) as error:
        load_splits(folder(images))
    (line,) = str(error.value).splitlines()
    assert line.startswith(where.format(r=images))
    assert message in line


@pytest.mark.parametrize(
    ("spoil", "where", "message"),
    [
        (lambda r: shutil.rmtree(r / "test"), "data.root: {r}/test", "is missing"),
        (lambda r: _truncate(r / "test/dog/1.jpg"), "{r}/test/dog/1.jpg", "not a readable image"),
        (lambda r: _add_class(r, "test/dgo"), "{r}/test/dgo", "did you mean 'dog'?"),
        (lambda r: [_empty(r / "test" / name) for name in COLOURS], "{r}/test", "holds no images"),
    ],
)
def test_spoilt_test_images_are_found_before_they_are_needed_and_do_not_stop_training(
    images: Path, spoil: Callable[[Path], object], where: str, message: str
) -> None:
    check_test(folder(images))
    spoil(images)
    assert len(load_splits(folder(images)).train) == 9
    with pytest.raises(UserError) as error:
        check_test(folder(images))
    (line,) = str(error.value).splitlines()
    assert line.startswith(where.format(r=images))
    assert message in line


def test_a_class_too_rare_for_the_split_is_refused(images: Path) -> None:
    for i in range(4, 40):
        Image.new("RGB", (9, 9), COLOURS["cat"]).save(images / f"train/cat/{i}.png")
    with pytest.raises(UserError, match=r"^class '(dog|owl)' has no image in val; add some"):
        load_splits(folder(images))


def test_images_beyond_the_free_memory_are_refused(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 1000)
    with pytest.raises(
        UserError, match=r"^data\.pipeline: .* free some of it, or choose streaming"
    ):
        load_splits(folder(images, pipeline="resident"))


def test_free_memory_is_what_the_machine_can_give() -> None:
    everything = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**20 < free_memory() <= everything


# CIFAR


def test_missing_cifar_gets_one_line_that_names_archive_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", no_network)
    with pytest.raises(UserError) as error:
        load_splits(DataConfig(name="cifar100", root=tmp_path))
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"data.root: cifar100 is not under {tmp_path}")
    assert "no route to host" in line
    assert "put cifar-100-python.tar.gz from https://www.cs.toronto.edu" in line
    assert f"into {tmp_path}, or set data.root" in line


def test_cifar_is_found_under_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    files = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for value, file in enumerate(files):
        planes = np.full((20, 3, 32, 32), value, dtype=np.uint8)
        planes[:, 0] += 100  # red
        content = {"data": planes.reshape(20, 3072), "labels": [i % 10 for i in range(20)]}
        (base / file).write_bytes(pickle.dumps(content))
    names = [f"class {i}" for i in range(10)]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))

    config = DataConfig(name="cifar10", root=tmp_path, val_size=10)
    splits, test = load_splits(config), load_test(config)
    assert splits.classes == tuple(names)
    assert len(splits.train) == 90
    assert sorted(splits.val.labels) == list(range(10))
    assert set(pixels(splits.train)[..., 1].ravel()) == {0, 1, 2, 3, 4}
    assert pixels(test).shape == (20, 32, 32, 3)
    assert pixels(test)[0, 0, 0].tolist() == [105, 5, 5]


# What the trials of a search share


def test_channel_statistics_travel_with_the_images_instead_of_being_computed_again() -> None:
    train = load_splits(digits()).train
    known = train.channel_statistics
    received = pickle.loads(pickle.dumps(train))
    assert vars(received)["channel_statistics"] == known


def test_what_a_worker_of_a_search_imports_leaves_out_what_only_loading_needs() -> None:
    code = "import sys, supcon.train; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sklearn", "albumentations", "matplotlib"} & set(done.stdout.split())
