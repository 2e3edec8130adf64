"""The sentences of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supcon.bundle.model import Model
from supcon.explore.looking import look_at_bundle
from supcon.explore.wording import around


@pytest.fixture
def shown() -> dict[str, Any]:
    cells = [
        {"label": 0, "predicted": 0, "n": 3, "images": []},
        {"label": 0, "predicted": 1, "n": 1, "images": []},
    ]
    return {
        "by": "probe",
        "images": {"path": [""] * 5},
        "missing": [],
        "why_missing": "",
        "confusions": cells,
        "suspects": {"n": 7, "of": 20, "probable": 2, "from": "", "listed": [{}] * 6},
        "unknown": {"k": 5, "false_alarms": 0.05, "threshold": 0.25, "known": [1], "others": []},
    }


def test_the_page_says_how_much_it_shows(model: Model, bundle: Path, shown: dict[str, Any]) -> None:
    said = around(bundle, model, look_at_bundle(model, bundle, 10), shown)
    assert said["bundle"] == "model"
    assert said["about"] == (
        "5 training images of the gallery, 5 images of val; 3 classes, predicted by probe."
    )
    assert "3 of 4 images with a known label are classified rightly (75.0 %)" in said["confused"]
    assert "For 7 of 20 images" in said["doubtful"]
    assert "calls 2 of these labels probably wrong" in said["doubtful"]
    assert "Here are the 6 most suspicious." in said["doubtful"]
    assert "beyond 0.2500, chosen so that at most 5 % of images" in said["unknown"]
    assert said["notes"] == []


def test_missing_files_and_labels_are_said_first(
    model: Model, bundle: Path, shown: dict[str, Any]
) -> None:
    shown |= {"missing": [1, 2], "why_missing": "a/<b>.png: there is no such file"}
    said = around(bundle, model, look_at_bundle(model, bundle, 10), shown)
    (note,) = said["notes"]
    assert note.startswith("2 of 5 images cannot be read")
    assert note.endswith("The first: a/<b>.png: there is no such file")


def test_a_bundle_without_a_threshold_says_so(
    model: Model, bundle: Path, shown: dict[str, Any]
) -> None:
    shown["unknown"]["threshold"] = None
    said = around(bundle, model, look_at_bundle(model, bundle, 10), shown)
    assert "has no threshold: val is too small" in said["unknown"]


def test_sections_that_are_not_shown_have_no_sentence(
    model: Model, bundle: Path, shown: dict[str, Any]
) -> None:
    shown |= {"confusions": "no labels", "suspects": "no labels"}
    shown["unknown"] |= {"known": [], "others": []}
    said = around(bundle, model, look_at_bundle(model, bundle, 10), shown)
    assert said["confused"] == said["doubtful"] == ""
    assert "no distances to compare" in said["unknown"]
