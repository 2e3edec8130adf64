"""What lies at a path: how it is read, and what is said of it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from search.proposal.survey import describe, survey, way_in
from supcon.parsing import UserError
from tests.proposal.conftest import Folder


def test_a_bare_folder_is_split_and_described(folder: Folder) -> None:
    root = folder({"cat": 30, "dog": 20, "owl": 10})
    (root / "cat" / "notes.txt").write_text("x")
    found, data = survey(root)
    assert found.settings == {"name": "folder", "root": str(root)}
    assert (found.n_train, found.imbalance, found.side) == (43, 22 / 7, 24)
    assert found.given == frozenset()
    assert len(data.train) == 43
    text = "\n".join(describe(found))
    assert "60 images of 3 classes" in text
    assert "train 43, val 5, test 12; test and val are split off" in text
    assert "all 40x24 pixels; PNG 60" in text
    assert "left out  1 .txt (no image by its suffix)" in text
    assert [line.split() for line in text.splitlines()[-3:]] == [
        ["cat", "22", "2", "6"], ["dog", "14", "2", "4"], ["owl", "7", "1", "2"],
    ]  # fmt: skip


def test_parts_that_are_there_are_taken_as_they_are(folder: Folder) -> None:
    folder({"cat": 9, "dog": 9}, under="train")
    folder({"cat": 3, "dog": 3}, under="valid")
    found, _ = survey(folder({"cat": 4, "dog": 4}, under="test"))
    assert found.given == {"val", "test"}
    assert "train 18, val 6, test 8" in "\n".join(describe(found))


def test_broken_images_are_left_out_by_a_setting_and_named(folder: Folder) -> None:
    root = folder({"cat": 20, "dog": 20})
    (root / "cat" / "3.png").write_bytes(b"no picture")
    found, data = survey(root)
    assert found.settings["broken"] == "skip"
    assert found.listing.left_out.broken == (str(root / "cat" / "3.png"),)
    assert any("broken files (1)" in line for line in describe(found))
    assert len(data.train) + len(data.val) == 31


def test_unknown_images_are_counted_apart_and_train_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder({"cat": 20, "dog": 20, "owl": 20})
    monkeypatch.chdir(root.parent)
    (root.parent / "others").mkdir()
    Image.new("RGB", (99, 77)).save(root.parent / "others/0.png")
    found, data = survey(root, {"hold_out": 1, "unknown": "others"})
    (held,) = {"cat", "dog", "owl"} - {*data.classes}
    assert found.settings["unknown"] == str(root.parent / "others")
    lines = describe(found)
    assert "40 images of 2 classes" in lines[0]
    assert "train 29, val 3, test 8" in lines[1]
    assert "all 40x24 pixels; PNG 40" in lines[2]
    assert [line for line in lines if line.startswith("unknown")] == [
        f"unknown   4 test images of the held-out classes {held}; sealed like test",
        f"unknown   1 images under {root.parent}/others; sealed like test",
    ]


def test_a_table_is_read_by_the_names_that_its_columns_have(folder: Folder) -> None:
    root = folder({"cat": 20, "dog": 20})
    table = root / "all.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "class", "patient"])
        for name in ("cat", "dog"):
            rows.writerows([[f"{name}/{i}.png", name, f"p{i // 2}"] for i in range(20)])
    assert way_in(table) == {
        "name": "table", "root": str(table), "path_column": "filename", "label_column": "class",
        "group_column": "patient",
    }  # fmt: skip
    found, _ = survey(table)
    assert "40 images of 2 classes, in 10 groups" in describe(found)[0]


def test_a_saved_data_set_is_told_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert way_in(tmp_path)["name"] == "huggingface"


@pytest.mark.parametrize("name", ["nothing", "notes.txt"])
def test_what_is_neither_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="must be a folder of images, a table") as error:
        survey(tmp_path / name)
    assert ("there is nothing" in str(error.value)) is (name == "nothing")


def test_of_many_classes_the_largest_and_smallest_are_shown(folder: Folder) -> None:
    found, _ = survey(folder({f"c{i:02d}": 8 + i for i in range(23)}, size=(9, 9)))
    lines = describe(found)
    assert any(line.split() == ["3", "more"] for line in lines)
    assert lines[-1].split()[0] == "c00"
