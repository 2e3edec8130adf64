"""Data sets of Hugging Face, saved to disk: their splits, classes and pictures."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from supcon.config import DataConfig
from supcon.images.files import ImageFiles
from supcon.images.loading import check_test, find_test, load_splits, load_test
from supcon.listing.saved import list_saved
from supcon.parsing import UserError

NAMES = ["owl", "cat"]  # not sorted: a ClassLabel has an order of its own
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    datasets.disable_progress_bars()


def some(n: int, start: int = 0, **more: list[Any]) -> datasets.Dataset:
    pictures = [Image.new("RGB", (9, 9), (start + i, 0, 99)) for i in range(n)]
    rows = {"image": pictures, "label": [i % 2 for i in range(n)]}
    features = FEATURES.copy()
    features.update({key: datasets.Value("string") for key in more})
    return datasets.Dataset.from_dict(rows | more, features=features)


def saved(root: Path, **splits: datasets.Dataset) -> DataConfig:
    whole = datasets.DatasetDict(splits) if list(splits) != ["alone"] else splits["alone"]
    whole.save_to_disk(root)
    return DataConfig(name="huggingface", root=root, image_size=8, val_size=2)


def reds(images: Any) -> list[int]:
    return [int(image[4, 4, 0]) for image in images[:]]


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_splits_and_classes_are_those_of_the_data_set(tmp_path: Path, pipeline: str) -> None:
    config = saved(tmp_path, train=some(8), validation=some(4, 100), test=some(6, 200))
    config = config.model_copy(update={"pipeline": pipeline})
    splits, test = load_splits(config), load_test(config)
    splits.check()
    check_test(config)
    assert splits.classes == ("owl", "cat")
    for split, n, start in ((splits.train, 8, 0), (splits.val, 4, 100), (test, 6, 200)):
        assert reds(split.images) == [start + i for i in range(n)]
        assert split.labels.tolist() == [i % 2 for i in range(n)]


@pytest.mark.parametrize("name", ["train", "alone"])
def test_a_single_split_is_parted(tmp_path: Path, name: str) -> None:
    config = saved(tmp_path, **{name: some(20)})
    splits, test = load_splits(config), load_test(config)
    found = [reds(each.images) for each in (splits.train, splits.val, test)]
    assert [len(each) for each in found] == [14, 2, 4]
    assert sorted(red for each in found for red in each) == list(range(20))


def test_pictures_stay_in_the_arrow_file_until_they_are_looked_at(tmp_path: Path) -> None:
    config = saved(tmp_path, train=some(8), test=some(6, 200))
    images = find_test(config).images
    assert isinstance(images, ImageFiles)
    away = pickle.loads(pickle.dumps(images.take(np.array([4, 1]))))
    assert reds(away) == [204, 201]
    assert b"".join(images.identity()).count(b"\n") == 6
    assert len({*images.contents()}) == 12


def test_groups_come_from_their_column_and_stay_together(tmp_path: Path) -> None:
    rows = some(24, patient=[f"p{i // 4}" for i in range(24)])
    config = saved(tmp_path, alone=rows).model_copy(update={"group_column": "patient"})
    splits, test = load_splits(config), load_test(config)
    found = [part.groups for part in (splits.train, splits.val, test)]
    sides = [set(groups.tolist()) for groups in found if groups is not None]
    assert sorted(group for side in sides for group in side) == list(range(6))


def test_a_broken_picture_is_named_by_split_and_row(tmp_path: Path) -> None:
    rows = some(8).cast_column("image", datasets.Image(decode=False))
    content = [{"bytes": b"x"} if i == 3 else row["image"] for i, row in enumerate(rows)]
    columns = {"image": content, "label": rows["label"]}
    spoilt = datasets.Dataset.from_dict(columns, features=rows.features)
    config = saved(tmp_path, train=spoilt.cast_column("image", datasets.Image()), test=some(6))
    with pytest.raises(UserError, match=f"{tmp_path}/train/3: not a readable image"):
        load_splits(config)


def test_other_splits_are_named(tmp_path: Path) -> None:
    config = saved(tmp_path, train=some(8), test=some(4), unlabelled=some(2))
    assert list_saved(tmp_path, config).left_out.passed_over == ("unlabelled",)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"test": some(4)}, "has no split train; it has test"),
        ({"train": some(4), "dev": some(4), "val": some(4)}, "dev and val could each be val"),
        ({"alone": some(4).remove_columns("label")}, "no columns are of type ClassLabel, out of"),
        ({"alone": some(4).remove_columns("image")}, "no columns are of type Image, out of label;"),
    ],
)
def test_a_data_set_that_cannot_be_meant_is_refused(
    tmp_path: Path, splits: dict[str, datasets.Dataset], words: str
) -> None:
    with pytest.raises(UserError) as error:
        list_saved(tmp_path, saved(tmp_path, **splits))
    assert words in str(error.value)


def test_what_was_not_saved_is_refused(tmp_path: Path) -> None:
    config = DataConfig(name="huggingface", root=tmp_path)
    with pytest.raises(UserError, match="is no data set that `save_to_disk` wrote"):
        list_saved(tmp_path, config)


def test_without_the_extra_the_way_to_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install '\.\[datasets\]'"):
        list_saved(tmp_path, DataConfig(name="huggingface", root=tmp_path))
