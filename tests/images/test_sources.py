"""Digits, CIFAR and folders as they are published, and what is said where they are missing."""

from __future__ import annotations

import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from supcon.config import DataConfig
from supcon.images.loading import load_splits, load_test
from supcon.parsing import UserError
from tests.images.pictures import digits, folder, pixels


def test_digits_are_grey_uint8_images_of_the_asked_size() -> None:
    assert pixels(load_splits(digits()).train).shape[1:] == (16, 16, 1)
    images = pixels(load_splits(digits(image_size=24)).val)
    assert images.shape[1:] == (24, 24, 1)
    assert images.dtype == np.uint8
    assert images.max() > 200


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
