"""The page of neighbours."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supcon.bundle.model import Model
from supcon.explore import near
from supcon.explore.near import Rows
from supcon.intake.pictures import decoded


def rows_of(model: Model, paths: list[Path], k: int) -> Rows:
    rows = Rows(model, k)
    for block in decoded(paths, model.manifest.preprocessing, size=4):
        rows.add(block)
    return rows


def test_a_row_has_the_neighbours_that_the_bundle_names(model: Model, pictures: Path) -> None:
    paths = sorted(pictures.rglob("*.png"))[::7]
    rows, expected = rows_of(model, paths, 3), model.neighbours(paths, 3)
    assert [row.query.path for row in rows.rows] == [str(path) for path in paths]
    for row, places, names, cosines in zip(
        rows.rows, expected.paths, expected.names, expected.similarities, strict=True
    ):
        assert [each.path for each in row.near] == [str(path) for path in places]
        assert [each.name for each in row.near] == names
        np.testing.assert_allclose([each.similarity or 0 for each in row.near], cosines, atol=1e-5)


def test_a_picture_is_that_of_its_file(model: Model, pictures: Path) -> None:
    rows = rows_of(model, [pictures / "green" / "03.png"], 2)
    content = base64.b64decode(rows.rows[0].query.source.partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (96, 96)
        assert np.asarray(image).mean((0, 1)).argmax() == 1


def test_names_are_text_and_never_markup(model: Model, pictures: Path) -> None:
    html = rows_of(model, [pictures / "<b>$x$" / "00.png"], 4).page(Path("model"))
    assert "&lt;b&gt;$x$" in html
    assert "<b>$x$" not in html
    assert "</script>" not in html
    assert not re.search(r"(src|href)=.?(http|//)", html)


def test_what_cannot_be_read_is_left_out_and_neighbours_without_a_file_are_grey(
    digits_model: Model, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    rows = rows_of(digits_model, [tmp_path / "broken.png", pictures / "green" / "00.png"], 3)
    html = rows.page(Path("model"))
    assert [row.query.path for row in rows.rows] == [str(pictures / "green" / "00.png")]
    assert html.count('<div class="picture none"') == 3
    assert "3 of the neighbours cannot be read" in html


def test_a_page_stops_at_as_many_images_as_it_can_show(
    model: Model, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "MOST", 5)
    rows = rows_of(model, sorted(pictures.rglob("*.png"))[:11], 2)
    assert (len(rows.rows), rows.left_out) == (5, 6)
    assert "These are the first 5 images; 6 more were named." in rows.page(Path("model"))
