"""Tables of images, whole and spoilt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from supcon.config import DataConfig
from supcon.listing.listing import Listing
from supcon.listing.table import list_table
from supcon.parsing import UserError

ROWS = [
    ("0.png", "cat", "train", "p1"),
    ("1.png", "dog", "training", "p1"),
    ("sub/2.png", "cat", "Valid", "p2"),
    ("3.png", "dog", "TEST", "p3"),
]
HEADER = ("path", "label", "split", "group")


def images(root: Path) -> None:
    for name in ("0.png", "1.png", "sub/2.png", "3.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")


def table(root: Path, text: str, name: str = "t.csv", **changes: Any) -> Listing:
    images(root)
    (root / name).write_text(text, encoding="utf-8")
    return read(root / name, **changes)


def read(file: Path, **changes: Any) -> Listing:
    return list_table(file, DataConfig(name="table", root=file, image_size=8, **changes))


def text(rows: Sequence[tuple[str, ...]] = ROWS, mark: str = ",") -> str:
    return "\n".join(mark.join(row) for row in [HEADER[: len(rows[0])], *rows]) + "\n"


def check(found: Listing, root: Path) -> None:
    assert [found.path(i) for i in range(4)] == [root / row[0] for row in ROWS]
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.parts.tolist() == ["train", "train", "val", "test"]
    assert found.groups is not None
    assert found.groups.tolist() == [0, 0, 1, 2]
    assert found.group_names == ("p1", "p2", "p3")


@pytest.mark.parametrize("mark", [",", ";", "\t", ", "])
def test_a_csv_is_read_in_its_order_whatever_parts_its_fields(tmp_path: Path, mark: str) -> None:
    check(table(tmp_path, text(mark=mark)), tmp_path)


def test_a_csv_of_excel_is_read(tmp_path: Path) -> None:
    check(table(tmp_path, "\ufeff" + text().replace("\n", "\r\n")), tmp_path)


def test_a_parquet_file_is_read_like_a_csv(tmp_path: Path) -> None:
    images(tmp_path)
    columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
    parquet.write_table(pa.table(columns | {"other": [1, 2, 3, 4]}), tmp_path / "t.parquet")
    check(read(tmp_path / "t.parquet"), tmp_path)


def test_numbers_are_classes_and_groups_as_well(tmp_path: Path) -> None:
    images(tmp_path)
    columns = {"path": [row[0] for row in ROWS], "label": [7, 10, 7, 10], "group": [1, 1, 2, 3]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet")
    assert found.classes == ("10", "7")
    assert found.group_names == ("1", "2", "3")


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    other = text().replace("path,label,split,group", "file,species,fold,patient")
    found = table(
        tmp_path, other, path_column="file", label_column="species", split_column="fold",
        group_column="patient",
    )  # fmt: skip
    check(found, tmp_path)


def test_split_and_group_need_not_be_there_and_can_be_ignored(tmp_path: Path) -> None:
    bare = table(tmp_path, text([row[:2] for row in ROWS]))
    ignored = table(tmp_path, text(), split_column=None, group_column=None)
    empty = table(tmp_path, text([(*row[:2], "", "") for row in ROWS]))
    for found in (bare, ignored, empty):
        assert found.parts.tolist() == [""] * 4
        assert found.groups is None


def test_two_forms_of_a_label_and_blanks_around_it_are_one_class(tmp_path: Path) -> None:
    rows = [("0.png", "caf\u00e9"), ("1.png", " cafe\u0301 "), ("3.png", "tea")]
    assert table(tmp_path, text(rows)).labels.tolist() == [0, 0, 1]


def test_rows_without_a_split_are_not_used_and_counted(tmp_path: Path) -> None:
    found = table(tmp_path, text([*ROWS[:3], ("3.png", "dog", "", "p3")]))
    assert found.parts.tolist()[-1] == ""
    assert found.left_out.counts == {("without a split", ".png"): 1}


def test_all_that_is_wrong_with_a_table_is_told_at_once(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        ("4.png", "cat", "train", "p4"),
        ("./0.png", "", "tain", ""),
        ("", "dog", "train", "p1"),
    ]
    with pytest.raises(UserError) as error:
        table(tmp_path, text(rows))
    file = tmp_path / "t.csv"
    assert str(error.value).splitlines() == [
        f"{file}: 1 path(s) are empty: row(s) 7; fill them in",
        f"{file}: 1 label(s) are empty: row(s) 6; fill them in",
        f"{file}: 1 group(s) are empty: row(s) 6; fill them in",
        f"{file}: split holds tain; it must be train, val, test or unknown, or empty (not used); "
        f"without the column (data.split_column=null) a split is made",
        f"{file}: 1 file(s) stand there more than once: 0.png",
        f"{file}: 1 file(s) are not under {tmp_path}: 4.png; paths start at the table",
    ]


def test_of_many_missing_files_ten_are_named_and_all_are_counted(tmp_path: Path) -> None:
    rows = [(f"{i}x.png", "ab"[i % 2]) for i in range(30)]
    with pytest.raises(UserError, match=r"30 file\(s\) are not under .*9x.png and 20 more; paths"):
        table(tmp_path, text(rows))


@pytest.mark.parametrize(
    ("content", "changes", "words"),
    [
        ("image,label\n0.png,a\n", {}, "has no column 'path' (columns: image, label); name the"),
        ("path,lable\n0.png,a\n", {}, "has no column 'label'; did you mean 'lable'?"),
        (text(), {"group_column": "patient"}, "has no column 'patient'"),
        ("path,label\n", {}, "at least 2 classes are needed, got 0"),
        ("", {}, "has no column 'path'"),
        ("path,label\n0.png,a\n1.png,b,c\n", {}, "1 row(s) have not 2 fields as the header has"),
        ("path,label\n0.png,a\n1.png,a\n", {}, "at least 2 classes are needed, got 1"),
        ("path,label,split\n0.png,a,\n1.png,b,unknown\n", {}, "split train, val or test, got 0"),
        ("path,label\n0.png,a\x07\n1.png,b\n", {}, "must be text in UTF-8 without control"),
        ("path,label\n0.png,a b\n1.png,a  b\n", {}, "classes 'a  b' and 'a b' look the same"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_in_one_line(
    tmp_path: Path, content: str, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError) as error:
        table(tmp_path, content, **changes)
    (line,) = str(error.value).splitlines()
    assert words in line


@pytest.mark.parametrize("name", ["t.xlsx", "t.parquet", "none.csv"])
def test_what_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    if name != "none.csv":
        (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UserError, match=f"data.root: {tmp_path}/{name}"):
        read(tmp_path / name)
