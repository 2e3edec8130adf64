"""`gallery add|remove|list`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.running import run


def test_a_gallery_is_listed_added_to_and_taken_from(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    model = tmp_path / "model"
    assert run("bundle", finished, "--out", model) == 0
    for name in ("dark", "3"):
        (tmp_path / "new" / name).mkdir(parents=True)
        for level in range(4):
            picture = Image.new("L", (16, 16), 60 * level)
            picture.save(tmp_path / "new" / name / f"{level}.png")
    (tmp_path / "new" / "3" / "bad.png").touch()
    capsys.readouterr()

    assert run("gallery", "list", model) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0] == "200 images of 10 classes"
    assert listed[-1].startswith("unknown beyond a distance of ")

    assert run("gallery", "add", model, tmp_path / "new") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "added 8 images, new classes: dark"
    assert said.out.splitlines()[2].startswith("predict goes by knn from now on")
    assert said.err.startswith(f"not read: {tmp_path}/new/3/bad.png: not a readable image")

    assert run("gallery", "list", model) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0] == "208 images of 11 classes"
    assert any(line.startswith("  3  ") and "(4 of them added)" in line for line in listed)
    assert "  dark  4 (4 of them added), a class that the probe does not know" in listed

    assert run("predict", model, tmp_path / "new" / "dark") == 0
    assert ",dark," in capsys.readouterr().out
    assert (
        run(
            "gallery",
            "remove",
            model,
            "--class",
            "dark",
            "--path",
            tmp_path / "new" / "3" / "1.png",
        )
        == 0
    )
    assert capsys.readouterr().out.splitlines()[0] == "removed 5 images"
    assert run("gallery", "list", model) == 0
    assert capsys.readouterr().out.splitlines()[0] == "203 images of 10 classes"
    shutil.rmtree(model)
