"""`explore`, and `neighbours --out`, as they are typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from supcon.__main__ import main
from supcon.config import Config
from tests.explore.painted import bundle_of, painted


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def bundle(pictures: Path, tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(pictures, tiny, tmp_path_factory.mktemp("of-files") / "model")


def data_of(page: Path) -> Any:
    html = page.read_text(encoding="utf-8")
    return json.loads(
        re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)[0]
    )


def explore(*arguments: object) -> int:
    return main(["explore", *map(str, arguments)])


def test_a_page_of_the_bundle_itself(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "explore.html"
    assert explore(bundle, "--images", 4, "--out", page, "--device", "cpu") == 0
    shown = data_of(page)
    assert shown["images"]["n"] == 4
    assert shown["map"] == "4 images are too few"
    told = capsys.readouterr()
    assert told.out.startswith(f"wrote {page}: 4 images, ")


def test_a_page_of_named_images_tells_what_was_left_out(
    bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes((pictures / "green" / "00.png").read_bytes())
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "broken.png").write_bytes(b"")
    page = tmp_path / "x.html"
    assert explore(bundle, tmp_path, "--out", page) == 0
    told = capsys.readouterr()
    assert "left out: " in told.out
    assert f"not read: {tmp_path}/broken.png" in told.err
    assert data_of(page)["images"]["n"] == 3
    assert "3 of 3 images lie in no folder that is called like a class" in page.read_text()


@pytest.mark.slow
def test_a_map_of_the_bundle_is_drawn_by_t_sne(bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "explore.html"
    assert explore(bundle, "--out", page) == 0
    shown = data_of(page)
    assert shown["map"]["method"] == "t-SNE"
    assert len(set(zip(shown["map"]["x"], shown["map"]["y"], strict=True))) == shown["images"]["n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "--images must be at least 1, got 0"),
        (["no-such-folder"], "no-such-folder: not a readable image"),
        (["--suspects", "none.csv"], "--suspects none.csv: cannot be read"),
    ],
)
def test_a_wrong_argument_is_one_line(
    bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert explore(bundle, *arguments, "--device", "cpu") == 2
    assert message in capsys.readouterr().err


def test_neighbours_are_written_as_a_page(
    bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, image = tmp_path / "near.html", pictures / "green" / "00.png"
    assert main(["neighbours", str(bundle), str(image), "--k", "3", "--out", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<section") == 1
    assert html.count("<figure>") == 4
    assert f"wrote {page}: 1 images\n" in capsys.readouterr().out


def test_an_onnx_file_is_not_explored(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explore", str(bundle / "model.onnx"), "--out", str(tmp_path / "e.html")]) == 2
    assert "model.onnx: is no bundle" in capsys.readouterr().err
