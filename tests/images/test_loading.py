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

from supcon.images.files import ImageFiles
from supcon.images.loading import check_test, find_test, load_splits, load_test
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
        (lambda r: shutil.rmtree(r), "data.root: {r} is", "is missing; a folder data set has"),
        (lambda r: shutil.rmtree(r / "train"), "data.root: {r}/train is missing", "test is there"),
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
        (lambda r: (r / "val").mkdir(), "{r}/val", "holds no images (.jpg, .png"),
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


def test_classes_of_very_unequal_sizes_are_each_on_either_side_of_every_split(
    tmp_path: Path,
) -> None:
    sizes = {"ant": 120, "bee": 60, "cat": 20, "dog": 4}
    for name, n in sizes.items():
        fill(tmp_path / name, n)
    config = folder(tmp_path, val_size=0.1)
    splits, test = load_splits(config), load_test(config)
    parts = [np.bincount(part.labels, minlength=4) for part in (splits.train, splits.val, test)]
    assert np.array_equal(sum(parts), [*sizes.values()])
    assert min(counts.min() for counts in parts) == 1
    assert [part.sum() for part in parts] == [147, 16, 41]
    assert np.abs(parts[2] / [*sizes.values()] - 0.2).max() <= 0.05


def fill(place: Path, n: int) -> None:
    """Pictures of one colour each, all different."""
    place.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.new("RGB", (9, 9), (i, len(place.name), ord(place.name[0]))).save(
            place / f"{i:03d}.png"
        )


def test_a_folder_without_parts_has_its_test_images_split_off_once_and_for_all(
    tmp_path: Path,
) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 20)
    config = folder(tmp_path, val_size=4)
    splits, test = load_splits(config), load_test(config)
    assert [len(part) for part in (splits.train, splits.val, test)] == [28, 4, 8]
    assert np.bincount(test.labels).tolist() == [4, 4]
    whole = contents(splits.train) + contents(splits.val) + contents(test)
    assert len(whole) == whole.total() == 40  # each picture once
    assert contents(load_test(config)) == contents(test)
    assert contents(load_test(folder(tmp_path, val_size=10))) == contents(test)
    assert contents(load_test(folder(tmp_path, split_seed=1))) != contents(test)
    assert len(load_test(folder(tmp_path, test_size=10))) == 10


def test_training_looks_at_no_test_image_that_is_split_off(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 10)
    test = find_test(folder(tmp_path)).images
    assert isinstance(test, ImageFiles)
    for path in test.paths():
        path.write_bytes(b"")
    load_splits(folder(tmp_path)).check()
    with pytest.raises(UserError, match="4 of 4 files are broken"):
        check_test(folder(tmp_path))


@pytest.mark.parametrize("name", ["valid", "validation", "dev", "Val"])
def test_a_val_folder_may_have_any_of_its_usual_names(images: Path, name: str) -> None:
    shutil.copytree(images / "test", images / name)
    assert len(load_splits(folder(images)).val) == 6
    assert len(load_splits(folder(images)).train) == 12


# Broken files


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_broken_files_of_all_parts_are_named_at_once(images: Path, pipeline: str) -> None:
    config = folder(images, pipeline=pipeline)
    for name in ("train/cat/0.png", "train/dog/1.jpg", "train/owl/3.bmp"):
        (images / name).write_bytes(b"")
    with pytest.raises(UserError) as error:
        load_splits(config).check()
    lines = str(error.value).splitlines()
    assert [line.split(": ")[0] for line in lines[:3]] == [
        str(images / name) for name in ("train/cat/0.png", "train/dog/1.jpg", "train/owl/3.bmp")
    ]
    assert lines[3:] == [
        "3 of 12 files are broken; repair or remove them, or leave such files out with "
        "data.broken=skip"
    ]


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_broken_files_are_left_out_if_asked_and_counted(images: Path, pipeline: str) -> None:
    whole = load_splits(folder(images, pipeline=pipeline))
    lost = contents(whole.train) + contents(whole.val)
    for name in ("train/cat/0.png", "test/dog/1.jpg"):
        (images / name).write_bytes(b"")
    config = folder(images, pipeline=pipeline, broken="skip")
    splits = load_splits(config)
    assert splits.left_out.broken == (str(images / "train/cat/0.png"),)
    assert check_test(config).broken == (str(images / "test/dog/1.jpg"),)
    assert len(load_test(config)) == len(find_test(config)) == 5
    lost.subtract(contents(splits.train) + contents(splits.val))
    assert sorted(n for n in lost.values() if n) == [1]
    splits.check()


def test_a_class_of_broken_files_alone_is_refused(images: Path) -> None:
    for path in (images / "train/owl").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="class 'owl' has 0 training image"):
        load_splits(folder(images, broken="skip"))
