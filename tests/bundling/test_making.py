"""From a run to a bundle."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from supcon.bundle.gallery import GALLERY, HELD_OUT, Gallery
from supcon.bundle.manifest import MANIFEST, read_manifest
from supcon.bundle.model import load
from supcon.bundling import making
from supcon.bundling.making import Choices, make_bundle, source_of
from supcon.config import Config
from supcon.evaluation.trained import embed_with
from supcon.images.split import Splits
from supcon.parsing import UserError
from supcon.train import Record
from tests.bundled import Used
from tests.bundled import source_of as some_source


def test_the_gallery_holds_the_training_images_by_name(contrastive: Used) -> None:
    gallery, held_out = (Gallery.load(contrastive.folder / f) for f in (GALLERY, HELD_OUT))
    roots = read_manifest(contrastive.folder).roots
    for found, split in ((gallery, contrastive.data.train), (held_out, contrastive.data.val)):
        assert found.labels.tolist() == split.labels.tolist()
        assert not found.is_added.any()
        paths = [found.path(i, roots) for i in range(len(found))]
        assert all(path.is_file() for path in paths)
        names = [contrastive.data.classes[label] for label in split.labels.tolist()]
        assert [path.parent.name for path in paths] == names
        expected = embed_with(contrastive.trained, contrastive.config, split.images).features
        assert np.array_equal(found.embeddings, expected.numpy())


def test_at_most_the_asked_share_of_val_is_called_unknown(contrastive: Used) -> None:
    model, val = contrastive.load(), contrastive.data.val.images[:]
    share = model.predict(val).is_unknown.mean()
    assert 0 < share <= model.manifest.unknown.false_alarms == 0.05


def test_images_without_files_are_named_by_their_number(
    tiny: Config, digits: Splits, trained_run: list[Record], tmp_path: Path
) -> None:
    trained = trained_run[-1].trained
    assert trained is not None
    make_bundle(trained, tiny, digits, some_source(tiny), Choices(in_half=True), tmp_path / "m")
    model = load(tmp_path / "m", "cpu")
    assert model.manifest.preprocessing.channels == 1
    assert model.gallery.embeddings.dtype.name == "float16"
    near = model.neighbours(digits.train.images[7:8], k=1)
    assert near.paths == [[Path("digits train/7")]]
    assert model.predict(digits.val.images[:]).ids.tolist() == (
        trained.probe.predict(embed_with(trained, tiny, digits.val.images).features).tolist()
    )


def test_what_is_there_is_not_overwritten(contrastive: Used, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UserError, match=r"--out .*x: exists already"):
        contrastive.make(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.parametrize("fails", ["save_heads", "write_manifest", "write_card"])
def test_nothing_is_left_of_a_bundle_that_could_not_be_written(
    contrastive: Used, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, fails, fail)
    with pytest.raises(UserError, match=r"cannot be written .*No space left"):
        contrastive.make(tmp_path / "deep" / "x")
    assert [*(tmp_path / "deep").iterdir()] == []


def test_too_few_images_of_val_leave_nothing_unknown(contrastive: Used, tmp_path: Path) -> None:
    contrastive.make(tmp_path / "x", Choices(false_alarms=0.001))
    model = load(tmp_path / "x", "cpu")
    assert model.manifest.unknown.threshold is None
    others = sorted((contrastive.images / "others" / "3").iterdir())
    assert not model.predict(others).is_unknown.any()


def test_the_source_is_the_run_that_the_file_lies_in(contrastive: Used, tmp_path: Path) -> None:
    found = source_of(
        tmp_path / "supcon-7" / "model.pt",
        contrastive.trained,
        contrastive.config,
        contrastive.data,
        None,
    )
    assert (found.run, found.data) == ("supcon-7", contrastive.data.fingerprint())
    assert (found.weights, found.on, found.study) == (contrastive.trained.weights, "train", None)


def test_weights_of_a_run_on_all_are_kept_with_the_calibration_of_the_first(
    contrastive: Used, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    make_bundle(
        contrastive.trained,
        contrastive.config,
        contrastive.data,
        some_source(contrastive.config),
        Choices(),
        out,
        on_all=contrastive.trained,
    )
    first, second = read_manifest(contrastive.folder), read_manifest(out)
    assert second.val is None
    assert second.temperatures == first.temperatures
    assert second.unknown == first.unknown
    assert (first.source.on, second.source.on) == ("train", "all")
    n = len(contrastive.data.train) + len(contrastive.data.val)
    assert len(Gallery.load(out / GALLERY)) == n
    assert len(Gallery.load(out / HELD_OUT)) == 0
    assert "no score of this model exists" in (out / "MODEL_CARD.md").read_text()


def test_a_bundle_is_whole_before_it_has_its_name(
    contrastive: Used, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[set[str]]()
    rename = Path.rename

    def noted(self: Path, target: Path) -> Path:
        seen.append(set(os.listdir(self)))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", noted)
    contrastive.make(tmp_path / "x")
    assert seen == [set(os.listdir(tmp_path / "x"))]
    assert MANIFEST in seen[0]
