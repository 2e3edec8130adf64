"""Digits, CIFAR and folders as they are published, and what is said where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from supcon.config import DataConfig
from supcon.images.files import ImageFiles
from supcon.images.loading import check_test, load_splits, load_test
from supcon.images.sources import list_images, part_of
from supcon.parsing import UserError
from tests.images.pictures import COLOURS, cifar_files, digits, folder, pixels


def test_digits_are_grey_uint8_images_of_the_asked_size() -> None:
    assert pixels(load_splits(digits()).train).shape[1:] == (16, 16, 1)
    images = pixels(load_splits(digits(image_size=24)).val)
    assert images.shape[1:] == (24, 24, 1)
    assert images.dtype == np.uint8
    assert images.max() > 200


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


def test_the_files_of_a_part_are_called_as_they_always_were(images: Path) -> None:
    """Their names are in the hashes of studies and models that there are."""
    train = part_of(list_images(folder(images)), "train", folder(images)).images
    assert isinstance(train, ImageFiles)
    assert train.root == images / "train"
    assert all(name.startswith(b"cat/") for name in train.names[:3])


def written(images: Path, rows: list[str]) -> DataConfig:
    file = images / "images.csv"
    file.write_text("path,label,split,group\n" + "\n".join(rows) + "\n")
    return DataConfig(name="table", root=file, image_size=8, val_size=2)


def test_a_table_gives_each_image_its_part_label_and_group(images: Path) -> None:
    config = written(
        images,
        [
            "train/cat/0.png,c,train,1", "train/owl/0.png,o,train,2", "train/cat/1.jpg,c,train,3",
            "train/owl/1.jpg,o,train,4", "test/owl/0.png,o,test,5", "test/cat/1.jpg,c,test,6",
        ],
    )  # fmt: skip
    splits, test = load_splits(config), load_test(config)
    assert splits.classes == ("c", "o")
    assert test.labels.tolist() == [1, 0]
    assert pixels(test)[0, 4, 4].tolist() == list(COLOURS["owl"])
    assert test.groups is not None
    assert test.groups.tolist() == [4, 5]
    groups = [split.groups for split in (splits.train, splits.val)]
    assert sorted(np.concatenate([g for g in groups if g is not None])) == [0, 1, 2, 3]


@pytest.mark.parametrize("read", [load_splits, check_test])
def test_a_group_on_two_sides_of_a_given_split_is_refused(
    images: Path, read: Callable[[DataConfig], object]
) -> None:
    config = written(
        images,
        [
            "train/cat/0.png,c,train,ann", "train/owl/0.png,o,train,bob", "train/cat/1.jpg,c,val,x",
            "train/owl/1.jpg,o,val,bob", "test/owl/0.png,o,test,ann", "test/cat/1.jpg,c,test,y",
        ],
    )  # fmt: skip
    with pytest.raises(UserError, match=r"2 group\(s\) lie on two sides of a split: ann, bob;"):
        read(config)


def test_test_images_of_a_single_group_are_refused(images: Path) -> None:
    given = [f"train/{c}/{f},{c},train,{c}{f}" for c in ("cat", "dog") for f in ("0.png", "1.jpg")]
    config = written(images, [*given, "test/cat/0.png,cat,test,z", "test/dog/0.png,dog,test,z"])
    with pytest.raises(UserError, match="the 2 test images are of one group"):
        check_test(config)


def test_the_test_images_are_the_same_for_every_seed_and_val_size() -> None:
    first, second = load_test(digits()), load_test(digits(split_seed=5, val_size=0.5))
    assert np.array_equal(pixels(first), pixels(second))
    assert np.array_equal(first.labels, second.labels)


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
    names = cifar_files(tmp_path)
    config = DataConfig(name="cifar10", root=tmp_path, val_size=10)
    splits, test = load_splits(config), load_test(config)
    assert splits.classes == tuple(names)
    assert len(splits.train) == 90
    assert sorted(splits.val.labels) == list(range(10))
    assert set(pixels(splits.train)[..., 1].ravel()) == {0, 1, 2, 3, 4}
    assert pixels(test).shape == (20, 32, 32, 3)
    assert pixels(test)[1, 0, 0].tolist() == [105, 5, 1]
