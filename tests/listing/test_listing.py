"""The table of images: what it says of itself, and what it writes down."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from supcon.config import DataConfig
from supcon.listing.listing import LeftOut, Listing, some
from supcon.listing.table import list_table


def listing(root: Path) -> Listing:
    names = ["a/0.png", "a/1, 2.png", 'b/"x".png', os.fsdecode(b"b/\xff.png")]
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    return Listing(
        root,
        np.array([os.fsencode(name) for name in names]),
        np.array([0, 0, 1, 1]),
        ("a", "b, or not"),
        np.array(["train", "val", "test", ""]),
        np.array([1, 1, 0, 2]),
        ("x", "y", "z"),
    )


def test_what_is_written_down_is_read_back_as_a_table(tmp_path: Path) -> None:
    before, file = listing(tmp_path), tmp_path / "images.csv"
    before.write(file)
    after = list_table(file, DataConfig(name="table", root=file, image_size=8))
    assert [after.path(i) for i in range(4)] == [before.path(i) for i in range(4)]
    assert after.classes == before.classes
    assert np.array_equal(after.labels, before.labels)
    assert np.array_equal(after.parts, before.parts)
    assert after.groups is not None
    assert after.groups.tolist() == [1, 1, 0, 2]
    assert after.left_out.counts == {("without a split", ".png"): 1}
    with file.open(encoding="utf-8", errors="surrogateescape") as rows:
        assert next(csv.reader(rows)) == ["path", "label", "split", "group"]


def test_images_are_counted_by_class_and_part(tmp_path: Path) -> None:
    assert listing(tmp_path).counts() == [{"train": 1, "val": 1}, {"test": 1, "": 1}]


def test_images_are_found_by_their_paths(tmp_path: Path) -> None:
    whole = listing(tmp_path)
    assert whole.is_at(()).tolist() == [False] * 4
    assert (
        whole.is_at((str(tmp_path / "a/1, 2.png"), "none")).tolist() == [False, True] + [False] * 2
    )


def test_what_was_left_out_is_said_by_reason() -> None:
    counts = {("hidden", ".png"): 1200, ("no image", ".txt"): 3, ("no image", ""): 1}
    left_out = LeftOut(counts, ("__MACOSX",), ("a/up -> a",), tuple("abcdefghijkl"))
    assert left_out.describe() == [
        "1,200 .png (hidden)",
        "1 without a suffix, 3 .txt (no image)",
        "folders passed over (1): __MACOSX",
        "links to what is listed already (1): a/up -> a",
        "broken files (12): a, b, c, d, e, f, g, h, i, j and 2 more",
    ]
    assert LeftOut().describe() == []
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
