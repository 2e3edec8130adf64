"""Which files of a folder are images, of which class, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supcon.images.decoding import Reading
from supcon.images.folder import class_names, list_folder
from supcon.images.loading import load_splits, load_test
from supcon.parsing import UserError
from tests.images.pictures import COLOURS, folder, pixels


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


def test_images_deeper_in_a_class_are_found_each_folder_in_order(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/1.jpeg", "a/x/9.png", "a/x/y/1.tif", "a/0.gif", "b/.x/1.png"):
        (tmp_path / "owl" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "owl" / name).write_bytes(b"")
    (tmp_path / "owl/a/x/9.png.txt").write_bytes(b"")
    files, labels = list_folder(tmp_path, ["owl"], Reading(8))
    found = [path.relative_to(tmp_path / "owl").as_posix() for path in files.paths()]
    assert found == ["a/0.gif", "a/x/9.png", "a/x/y/1.tif", "b/1.jpeg", "b/2.PNG"]
    assert labels.tolist() == [0] * 5
    assert files.shape == (5, 8, 8, 3)


def test_labels_are_places_in_the_given_order_of_classes(images: Path) -> None:
    files, labels = list_folder(images / "test", ["owl", "cat", "dog"], Reading(8))
    assert [path.parent.name for path in files.paths()] == ["owl"] * 2 + ["cat"] * 2 + ["dog"] * 2
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_classes_are_the_folders_of_train_sorted(tmp_path: Path) -> None:
    for name in ("zebra", "Ant", "bee", ".hidden"):
        (tmp_path / "train" / name).mkdir(parents=True)
    (tmp_path / "train/notes.txt").write_text("")
    assert class_names(tmp_path) == ("Ant", "bee", "zebra")


def test_a_name_that_is_no_text_is_that_of_an_image_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "owl").mkdir()
    Image.new("RGB", (9, 9), COLOURS["owl"]).save(tmp_path / "owl" / os.fsdecode(b"\xff.png"))
    files, _ = list_folder(tmp_path, ["owl"], Reading(8))
    assert np.array_equal(files[:][0, 4, 4], COLOURS["owl"])


@pytest.mark.parametrize("train", [None, [], ["one"]])
def test_fewer_than_two_classes_are_refused(tmp_path: Path, train: list[str] | None) -> None:
    for name in train or []:
        (tmp_path / "train" / name).mkdir(parents=True)
    if train == []:
        (tmp_path / "train").mkdir()
    message = "is missing" if train is None else f"at least 2 .* got {len(train)}$"
    with pytest.raises(UserError, match=f"{tmp_path}/train.* {message}"):
        class_names(tmp_path)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", os.fsdecode(b"caf\xe9")])
def test_a_class_whose_name_cannot_be_shown_is_refused_in_one_line(
    tmp_path: Path, name: str
) -> None:
    for place in ("train/a", "train/b", f"train/{name}", "val/a", f"val/{name}"):
        (tmp_path / place).mkdir(parents=True)
    for read in (
        lambda: class_names(tmp_path),
        lambda: list_folder(tmp_path / "val", "ab", Reading(8)),
    ):
        with pytest.raises(UserError, match="must be text in UTF-8 without control") as error:
            read()
        assert len(str(error.value).splitlines()) == 1


def test_a_class_may_be_called_anything_else(tmp_path: Path) -> None:
    names = ("$5 and $10", "_x_", "a_$x^$", "zz|<b>", "名前")
    for name in names:
        (tmp_path / "train" / name).mkdir(parents=True)
    assert class_names(tmp_path) == names


def test_a_folder_that_no_folder_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        class_names(tmp_path / ("x" * 300))
