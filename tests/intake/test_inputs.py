"""What is looked at, and in which order."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

import pytest

from supcon.intake.inputs import STDIN, Inputs
from supcon.parsing import UserError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.JPG", "notes.txt", ".hidden.jpg", "Thumbs.db", "sub/c.png", "sub/d"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_a_folder_stands_for_its_images_by_name_and_the_rest_is_counted(tree: Path) -> None:
    inputs = Inputs([tree])
    assert [str(p.relative_to(tree)) for p in inputs] == ["a.JPG", "b.jpg", "sub/c.png"]
    assert inputs.left_out.describe() == [
        "1 .db, 1 .jpg (hidden, or another program's)",
        "1 without a suffix, 1 .txt (no image by its suffix)",
    ]


def test_what_was_named_itself_is_looked_at_in_the_order_of_naming(tree: Path) -> None:
    named = [tree / "notes.txt", tree / "sub", tree / "no.jpg", tree / "b.jpg"]
    assert [*Inputs(named)] == [named[0], tree / "sub" / "c.png", named[2], named[3]]


def test_a_link_to_what_is_listed_already_is_not_followed_twice(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree)
    inputs = Inputs([tree])
    assert len([*inputs]) == 3
    assert "1 folder (links to what is listed already)" in inputs.left_out.describe()


def test_a_list_on_standard_input_is_read_as_it_comes(tree: Path) -> None:
    endless = (f"{i} ü.jpg\n" for i in itertools.count())
    inputs = iter(Inputs([STDIN, tree], endless))  # type: ignore[arg-type]
    assert [next(inputs), next(inputs)] == [Path("0 ü.jpg"), Path("1 ü.jpg")]
    assert [*Inputs([STDIN], io.StringIO("a.jpg\r\n\nb c.jpg"))] == [Path("a.jpg"), Path("b c.jpg")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_paths_of_a_table_start_at_its_folder(tree: Path, delimiter: str) -> None:
    table = tree / "x.csv"
    rows = [["id", "path"], ["1", "b.jpg"], ["2", "/tmp/x.jpg"], ["3", '"odd, name.jpg"']]
    table.write_text("\n".join(delimiter.join(row) for row in rows) + "\n\n")
    expected = [tree / "b.jpg", Path("/tmp/x.jpg"), tree / "odd, name.jpg"]
    assert [*Inputs([table])] == expected


def test_a_table_without_the_column_is_refused_before_anything_is_looked_at(tree: Path) -> None:
    table = tree / "x.csv"
    table.write_text("file,label\na.jpg,cat\n")
    with pytest.raises(
        UserError, match=r"has no column 'path' \(columns: file, label\); .*--column"
    ):
        Inputs([table])
    assert [*Inputs([table], column="file")] == [tree / "a.jpg"]


def test_a_row_of_another_width_is_named(tree: Path) -> None:
    table = tree / "x.csv"
    table.write_text("path,label\na.jpg,cat\nb,c.jpg,dog\n")
    with pytest.raises(UserError, match="row 3 has 3 columns instead of 2; quote"):
        list(Inputs([table]))


def test_a_folder_is_walked_as_its_images_are_asked_for(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[str]()
    listdir = os.listdir

    def noted(folder: Path) -> list[str]:
        looked.append(str(folder))
        return listdir(folder)

    monkeypatch.setattr("os.listdir", noted)
    inputs = iter(Inputs([tree]))
    assert next(inputs).name == "a.JPG"
    assert looked == [str(tree)]


def test_nothing_named_is_refused() -> None:
    with pytest.raises(UserError, match="PATH: name images"):
        Inputs([])
