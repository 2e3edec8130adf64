"""Splits: who gets which image, and what is said when images are missing, broken or too few."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from supcon.images.loading import check_test, load_splits, load_test
from supcon.images.split import Split
from supcon.parsing import UserError
from tests.images.pictures import COLOURS, contents, digits, folder, pixels

# Digits


def test_every_digit_is_in_exactly_one_of_train_val_and_test() -> None:
    config = digits(image_size=8)
    splits, test = load_splits(config), load_test(config)
    everything = Split(
        (load_digits().images * (255 / 16)).round().astype(np.uint8)[..., None],
        load_digits().target,
    )
    assert contents(splits.train) + contents(splits.val) + contents(test) == contents(everything)


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


def test_a_val_folder_of_ones_own_is_used_as_it_is(images: Path) -> None:
    shutil.copytree(images / "test", images / "val")
    splits = load_splits(folder(images))
    assert splits.val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(pixels(splits.val), pixels(load_test(folder(images))))
    assert len(splits.train) == 12


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
            lambda r: Image.new("F", (9, 9), 2).save(r / "train/dog/9.tif"),
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
