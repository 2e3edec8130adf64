"""What goes into the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supcon.bundle.model import Model
from supcon.bundle.predictions import Tally
from supcon.explore import contents as module
from supcon.explore.contents import Choices, contents
from supcon.explore.judging import NotJudged
from supcon.explore.looking import look_at_bundle, look_at_files
from supcon.explore.placing import GRID
from supcon.parsing import UserError
from tests.explore.painted import CLASSES

HEADER = "rank,part,index,file,label,predicted,self_confidence,margin,probably_wrong\n"


def quiet(text: str) -> None:
    pass


@pytest.fixture(autouse=True)
def _no_tsne(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds to start."""

    def places(features: Any, *_: object) -> Any:
        return np.arange(2 * len(features)).reshape(-1, 2) % GRID

    monkeypatch.setattr(module, "places", places)


def test_what_is_shown_of_a_bundle_is_plain_and_consistent(model: Model, bundle: Path) -> None:
    shown = contents(model, look_at_bundle(model, bundle, 1000), Choices(say=quiet))
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    images, n = shown["images"], shown["images"]["n"]
    for column in ("part", "predicted", "probability", "distance"):
        assert len(images[column]) == n
    assert len(images["path"]) == len(images["label"]) >= n
    assert shown["map"]["x"] == [2 * i % GRID for i in range(n)]
    assert shown["classes"] == list(CLASSES)
    val = [i for i in range(n) if shown["parts"][images["part"][i]] == "val"]
    assert sum(cell["n"] for cell in shown["confusions"]) == len(val) > 0
    assert shown["unknown"]["known"] == val
    assert shown["unknown"]["threshold"] == model.manifest.unknown.threshold
    assert shown["missing"] == []


def test_neighbours_in_a_cell_are_images_of_the_gallery(model: Model, bundle: Path) -> None:
    shown = contents(model, look_at_bundle(model, bundle, 8), Choices(say=quiet))
    paths, roots = shown["images"]["path"], model.manifest.roots
    gallery = {str(model.gallery.path(i, roots)): i for i in range(len(model.gallery))}
    each = [image for cell in shown["confusions"] for image in cell["images"]]
    assert each
    for image in each:
        for number in image["near"]:
            place = gallery[paths[number]]
            assert shown["images"]["label"][number] == model.gallery.labels[place]
        # The nearest, as the bundle names it.
        nearest = model.neighbours(paths[image["image"]], 1).paths[0][0]
        assert paths[image["near"][0]] == str(nearest)


def test_without_labels_each_section_says_what_it_lacks(
    model: Model, pictures: Path, tmp_path: Path
) -> None:
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes((pictures / "green" / f"{i:02d}.png").read_bytes())
    looked = look_at_files(model, sorted(tmp_path.glob("*.png")), 100, Tally())
    shown = contents(model, looked, Choices(say=quiet))
    assert "no image here has a label that is known" in shown["confusions"]
    assert "here are 0 of 0" in shown["suspects"]
    assert shown["unknown"]["known"] == []
    assert shown["unknown"]["others"] == list(range(12))


def test_images_of_one_class_have_confusions_but_no_suspects(model: Model, pictures: Path) -> None:
    looked = look_at_files(model, sorted((pictures / "green").iterdir()), 100, Tally())
    shown = contents(model, looked, Choices(say=quiet))
    assert sum(cell["n"] for cell in shown["confusions"]) == len(looked)
    assert "here are 20 of 1" in shown["suspects"]


def test_a_map_that_is_not_drawn_takes_nothing_else_with_it(
    model: Model, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotJudged("the features of all images are equal")

    monkeypatch.setattr(module, "places", fail)
    shown = contents(model, look_at_bundle(model, bundle, 1000), Choices(say=quiet))
    assert shown["map"] == "the features of all images are equal"
    assert shown["confusions"]


def test_images_without_files_are_counted_and_the_first_is_named(
    digits_model: Model, digits_bundle: Path
) -> None:
    looked = look_at_bundle(digits_model, digits_bundle, 20)
    shown = contents(digits_model, looked, Choices(say=quiet))
    assert len(shown["missing"]) == len(shown["images"]["path"]) >= 20
    assert "digits train/0: " in shown["why_missing"]


def test_the_suspects_of_a_study_are_listed_as_it_has_them(
    model: Model, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    file = tmp_path / "suspects.csv"
    first = pictures / "green" / "00.png"
    rows = f"1,val,3,{first},green,猫,0.0021,-0.9,yes\n2,train,7,,猫,green,0.3,-0.1,no\n"
    file.write_text(HEADER + rows)
    looked = look_at_bundle(model, bundle, 1000)
    shown = contents(model, looked, Choices(suspects=file, say=quiet))
    found, paths = shown["suspects"], shown["images"]["path"]
    assert (found["n"], found["probable"], found["from"]) == (2, 1, str(file))
    assert [paths[each["image"]] for each in found["listed"]] == [str(first), "train 7"]
    assert found["listed"][0] | {"image": 0} == {
        "image": 0, "given": "green", "rather": "猫", "confidence": 0.0021, "probable": True,
    }  # fmt: skip
    assert [paths[i] for i in shown["missing"]] == ["train 7"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        HEADER + "1,val\n",
        HEADER + "1,2,3,4,5,6,x,8,9\n",
        HEADER + "1,2,3,4,5,6,nan,8,9\n",
    ],
)
def test_a_file_that_is_no_list_of_suspects_is_refused(
    model: Model, bundle: Path, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "suspects.csv"
    file.write_text(text)
    looked = look_at_bundle(model, bundle, 10)
    with pytest.raises(
        UserError, match=r"^--suspects .*: cannot be read .*suspects\.csv of a study"
    ):
        contents(model, looked, Choices(suspects=file, say=quiet))
