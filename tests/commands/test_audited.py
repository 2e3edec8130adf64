"""A search over images of which some are copies: it says so, from its first lines to its report."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from search.log.events import Audited, Started, Unsealed
from search.log.journal import Journal
from search.run import main
from tests.images.pictures import photo
from tests.without_ray import SMALL, without_ray


def space(path: Path) -> list[str]:
    """Two classes of photographs; half of the test images are copies of training images."""
    seed = 0
    for part, n in (("train", 30), ("test", 8)):
        for name in ("cat", "dog"):
            (path / "images" / part / name).mkdir(parents=True)
            for i in range(n):
                seed += 1
                photo(24, 24, seed).save(path / "images" / part / name / f"{i}.png")
    for i in range(4):
        for name, source in (("cat", "cat"), ("dog", "cat" if i == 0 else "dog")):
            place = path / "images/test" / name / f"{i}.png"
            shutil.copy(path / "images/train" / source / f"{10 + i}.png", place)
    Image.new("RGBA", (24, 24), (255, 0, 0, 90)).save(path / "images/train/cat/0.png")
    base: dict[str, Any] = SMALL["base"] | {
        "data": {"name": "folder", "root": str(path / "images"), "image_size": 16,
                 "batch_size": 8, "pipeline": "resident"},
    }  # fmt: skip
    changes = {
        "name": "x",
        "base": base | {"run": {"epochs": 1, "precision": "fp32"}, "augment": {"strength": 0}},
        "params": {"optim.lr_per_256": {"loguniform": [0.03, 1.0]}},
        "budget": {"trials": 1},
        "scheduler": "none",
        "confirm": {"top": 1, "seeds": 3, "references": False},
    }
    text = yaml.safe_dump(SMALL | changes)
    (path / "x.yaml").write_text(text)
    return ["--space", str(path / "x.yaml"), "--results", str(path / "results")]


def run(arguments: list[str]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), without_ray():
        assert main(arguments) == 0
    return out.getvalue()


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """A whole search, and what it said."""
    path = tmp_path_factory.mktemp("audited")
    arguments = space(path)
    return path / "results/x", arguments, run(arguments)


FOUND = (
    "8 of 16 images of test (50.0%) have a copy in train (8 equal, 0 nearly so), 1 of them under "
    "another label"
)


def test_a_search_says_before_it_starts_which_images_are_copies(
    searched: tuple[Path, list[str], str],
) -> None:
    said = searched[2].splitlines()
    line = said.index(f"audit     {FOUND}")
    assert "further copy in test" in said[line + 1]
    assert "          1 of 54 in train: transparent, laid on data.background" in said
    assert all("ce-0" not in earlier for earlier in said[:line])


def test_its_log_tells_before_a_test_image_is_opened(searched: tuple[Path, list[str], str]) -> None:
    events = Journal.open(searched[0] / "events.jsonl").events
    kinds = [type(event) for event in events]
    assert kinds[:2] == [Started, Audited]
    assert kinds.index(Audited) < kinds.index(Unsealed)
    assert (searched[0] / "audit.csv").read_text().count("\n") == 1 + 8


def test_its_verdict_and_report_speak_of_the_copies(searched: tuple[Path, list[str], str]) -> None:
    summary = json.loads((searched[0] / "summary.json").read_text())
    assert summary["images"]["text"][0] == FOUND
    clean = summary["verdict"]["without_copies"]
    assert (clean["copies"], clean["images"]) == (8, 8)
    assert "have a copy in train" in summary["verdict"]["text"]
    assert FOUND.replace("(", "\\(") in (searched[0] / "report.md").read_text().replace("(", "\\(")
    html = (searched[0] / "report.html").read_text()
    assert FOUND in html
    assert html.count("data:image/jpeg;base64,") == 2 * 8
    assert "pictures of copies" not in html


def test_a_study_that_goes_on_looks_no_image_over_again(
    searched: tuple[Path, list[str], str],
) -> None:
    said = run([*searched[1], "--name", "x", "--resume"])
    assert "audit  " not in said
    kinds = [type(event) for event in Journal.open(searched[0] / "events.jsonl").events]
    assert kinds.count(Audited) == 1


def test_a_forecast_tells_it_too_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.run.prepare", lambda chosen, *_: (chosen, ["what it will cost"]))
    arguments = space(tmp_path)
    assert f"audit     {FOUND}" in run([*arguments, "--dry-run"])
    assert not (tmp_path / "results").exists()
