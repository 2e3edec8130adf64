"""Predictions as a table."""

from __future__ import annotations

import csv
import gc
import io
import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supcon.bundle import predictions
from supcon.bundle.predictions import Table, Tally, blocks_of
from supcon.intake.inputs import Inputs
from tests.bundled import Used, odd_files


def rows_of(
    used: Used, *named: Path, by: Any = "probe", n: int = 1, labelled: bool = False
) -> tuple[list[dict[str, str]], Tally]:
    out, tally, model = io.StringIO(), Tally(), used.load()
    table = Table(out, model, by, n, labelled=labelled)
    for block in blocks_of(model, Inputs(named), tally):
        table.add(block, tally)
    return [*csv.DictReader(io.StringIO(out.getvalue()))], tally


@pytest.mark.parametrize("block", [2, 512])
def test_a_row_says_what_the_model_says_in_the_order_of_the_files(
    contrastive: Used, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(predictions, "MOST", block)
    monkeypatch.setattr(predictions, "FEWEST", 1)
    folder = contrastive.images / "test" / "5"
    rows, tally = rows_of(contrastive, folder, contrastive.images / "others" / "3", n=3)
    model, paths = contrastive.load(), [Path(row["path"]) for row in rows]
    assert paths == [
        *sorted(folder.iterdir()),
        *sorted((contrastive.images / "others/3").iterdir()),
    ]
    found = model.predict(paths)
    assert [row["class"] for row in rows] == found.names
    assert [int(row["unknown"]) for row in rows] == found.is_unknown.tolist()
    assert [float(row["probability"]) for row in rows] == pytest.approx(found.sureness, abs=1e-5)
    assert [float(row["distance"]) for row in rows] == pytest.approx(found.distances, abs=1e-5)
    near = model.neighbours(paths, k=1)
    assert [row["nearest"] for row in rows] == [str(path) for (path,) in near.paths]
    assert [row["nearest_class"] for row in rows] == [name for (name,) in near.names]
    for row in rows:
        shares = [float(row[f"probability{i}"]) for i in ("", "_2", "_3")]
        assert shares == sorted(shares, reverse=True)
        assert len({row[f"class{i}"] for i in ("", "_2", "_3")}) == 3
    assert (tally.read, tally.unknown, tally.unreadable) == (len(rows), found.is_unknown.sum(), 0)


def test_files_that_cannot_be_read_have_rows_that_say_why(own: Used, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    expected = odd_files(tmp_path / "odd")
    paths = [tmp_path / "odd" / name for name in expected]
    paths.remove(tmp_path / "odd" / "folder.jpg")  # a folder that is named is looked into
    rows, tally = rows_of(own, *paths)
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    for row in rows:
        outcome = expected[Path(row["path"]).name]
        if outcome.startswith("not a readable image"):
            assert row["error"].startswith(outcome)
            assert row["class"] == row["unknown"] == row["nearest"] == ""
        else:
            assert (row["class"] in own.data.classes, row["error"]) == (True, "")
            assert row["note"] == ("" if outcome == "read" else outcome.replace("black", "white"))
    assert tally.read + tally.unreadable == len(paths)
    assert len(tally.errors) == tally.unreadable


def test_images_in_folders_called_like_classes_are_compared(contrastive: Used) -> None:
    rows, tally = rows_of(contrastive, contrastive.images, labelled=True)
    own = [row for row in rows if row["label"]]
    assert {row["label"] for row in own} == set(contrastive.data.classes)
    assert tally.labelled == len(own) < len(rows)  # others/ holds no class of the model
    assert tally.right == sum(row["label"] == row["class"] for row in own)


def test_memory_does_not_grow_with_the_number_of_files(
    contrastive: Used, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "MOST", 64)
    path = next((contrastive.images / "test" / "5").iterdir())

    class Sink(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    model, tally, peaks = contrastive.load(), Tally(), []
    table = Table(Sink(), model, "probe", 1, labelled=False)
    tracemalloc.start()
    for i, block in enumerate(blocks_of(model, itertools.repeat(path, 64 * 24), tally)):
        table.add(block, tally)
        if i in (7, 23):
            gc.collect()
            peaks.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert tally.read == 64 * 24
    assert peaks[1] - peaks[0] < 200 * (16 * 64)  # bytes a row; a row that is kept takes 1,000


def test_no_more_classes_are_named_than_there_are(contrastive: Used) -> None:
    path = next((contrastive.images / "test" / "5").iterdir())
    (row,), _ = rows_of(contrastive, path, n=99)
    assert "class_8" in row
    assert "class_9" not in row
    shares = [float(row[f"probability{i}"]) for i in ("", *(f"_{j}" for j in range(2, 9)))]
    assert np.isclose(sum(shares), 1, atol=1e-4)


@pytest.mark.parametrize(("uses_gpu", "size", "ahead"), [(False, 4, 0), (True, 32, 2)])
def test_a_gpu_gets_larger_blocks_which_are_decoded_ahead(
    contrastive: Used, monkeypatch: pytest.MonkeyPatch, uses_gpu: bool, size: int, ahead: int
) -> None:
    monkeypatch.setattr(predictions, "MOST", 4)
    monkeypatch.setattr(predictions, "FEWEST", 1)
    model, asked = contrastive.load(), itertools.count()
    monkeypatch.setattr(type(model.encode), "uses_gpu", uses_gpu)
    path = next((contrastive.images / "test" / "5").iterdir())
    blocks = blocks_of(model, (path for _ in asked), Tally())
    assert len(next(blocks).paths) == size
    assert next(asked) == size * (1 + ahead)
    blocks.close()  # type: ignore[attr-defined]
