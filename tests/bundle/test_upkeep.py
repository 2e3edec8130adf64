"""Galleries that grow and shrink."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from supcon.bundle import upkeep
from supcon.bundle.manifest import MANIFEST, check_files, read_manifest
from supcon.bundle.upkeep import add_images, remove_images
from supcon.images.loading import load_test
from supcon.parsing import UserError
from tests.bundled import Used


@pytest.fixture
def others(contrastive: Used, tmp_path: Path) -> Path:
    """Half of the images of 3 and 7, which the model was not trained on."""
    root = tmp_path / "new"
    for digit in ("3", "7"):
        (root / digit).mkdir(parents=True)
        for path in sorted((contrastive.images / "others" / digit).iterdir())[::2]:
            shutil.copy(path, root / digit)
    return root


def test_new_classes_are_named_at_once_without_training(own: Used, others: Path) -> None:
    unseen = [
        path
        for digit in ("3", "7")
        for path in sorted((contrastive_images(own) / "others" / digit).iterdir())[1::2]
    ]
    before = own.load().predict(unseen)
    change, manifest = add_images(own.folder, others, "cpu")
    model = own.load()
    assert (model.manifest, change.new_classes) == (manifest, ("3", "7"))
    assert change.images == sum(1 for _ in others.rglob("*.png"))
    assert model.classes == (*own.data.classes, "3", "7")
    assert model.default == "knn"
    after = model.predict(unseen)
    right = np.mean(
        [path.parent.name == name for path, name in zip(unseen, after.names, strict=True)]
    )
    assert right > 0.8
    assert after.is_unknown.mean() < before.is_unknown.mean() / 2
    known = load_test(own.config.data)
    names = [own.data.classes[i] for i in known.labels.tolist()]
    assert np.mean(np.array(model.predict(known.images[:]).names) == names) > 0.8
    assert model.predict(unseen[:3], by="probe").classes == own.data.classes


def contrastive_images(used: Used) -> Path:
    return Path(used.config.data.root)


def test_the_threshold_is_set_anew_by_val_and_what_was_added(own: Used, others: Path) -> None:
    before = own.load().manifest.unknown
    change, manifest = add_images(own.folder, others, "cpu")
    after = manifest.unknown
    assert after.images == before.images + change.images
    assert after.threshold is not None
    model = own.load()
    added = model.gallery.take(model.gallery.is_added).embeddings
    far = []
    for i, x in enumerate(added):  # each without itself, by a slow loop
        bank = np.delete(
            model.gallery.embeddings, np.flatnonzero(model.gallery.is_added)[i], axis=0
        )
        cosines = bank @ x / np.linalg.norm(bank, axis=1) / np.linalg.norm(x)
        far.append(1 - np.sort(cosines)[-after.k])
    share = np.mean(np.array(far) > after.threshold + 1e-6)
    assert share < 0.25
    assert manifest.temperatures["probe"] == own.load().manifest.temperatures["probe"]


def test_images_that_are_there_already_are_not_added_twice(own: Used, others: Path) -> None:
    first, _ = add_images(own.folder, others, "cpu")
    (others / "3" / "one more.png").write_bytes(next((others / "7").iterdir()).read_bytes())
    (others / "3" / "broken.png").touch()
    again, _ = add_images(own.folder, others, "cpu")
    assert (again.images, again.known, again.tally.unreadable) == (1, first.images, 1)
    with pytest.raises(
        UserError, match=r"no image was added \(\d+ were there already, 1 could not"
    ):
        add_images(own.folder, others, "cpu")


def test_a_known_class_is_found_in_any_form_of_unicode(own: Used, others: Path) -> None:
    for form in ("\u00e9", "e\u0301"):
        root = others.with_name(form + "-root")
        shutil.copytree(others / "3", root / form)
        add_images(own.folder, root, "cpu")
    assert own.load().classes == (*own.data.classes, "\u00e9")


def test_what_was_added_is_removed_again_and_its_class_with_it(own: Used, others: Path) -> None:
    whole = own.load()
    add_images(own.folder, others, "cpu")
    change, _ = remove_images(own.folder, [], [others / "3", next((others / "7").iterdir())])
    assert change.images == sum(1 for _ in (others / "3").iterdir()) + 1
    assert own.load().classes == (*own.data.classes, "7")
    remove_images(own.folder, ["7"], [])
    model = own.load()
    assert model.manifest.unknown == whole.manifest.unknown
    assert model.manifest.temperatures == pytest.approx(whole.manifest.temperatures)
    assert np.array_equal(model.gallery.embeddings, whole.gallery.embeddings)
    assert model.default == "probe"


def test_images_of_a_trained_class_that_was_removed_are_unknown(own: Used) -> None:
    test = contrastive_images(own) / "test" / "0"
    before = own.load().predict([*test.iterdir()])
    remove_images(own.folder, ["0"], [])
    model = own.load()
    found = model.predict([*test.iterdir()], by="knn")
    assert model.classes == own.data.classes
    assert "0" not in found.names
    assert found.is_unknown.mean() > 0.5 > before.is_unknown.mean()


@pytest.mark.parametrize(
    ("classes", "paths", "said"),
    [
        (["10"], [], "--class 10: is not in the gallery; did you mean '1'"),
        ([], ["nowhere"], "nowhere: no image of the gallery is there"),
        (list("01245689"), [], "at least 2 images must stay"),
    ],
)
def test_what_cannot_be_removed_is_told_and_nothing_changes(
    own: Used, classes: list[str], paths: list[str], said: str
) -> None:
    before = {path.name: path.read_bytes() for path in own.folder.iterdir()}
    with pytest.raises(UserError, match=said):
        remove_images(own.folder, classes, [Path(path) for path in paths])
    assert {path.name: path.read_bytes() for path in own.folder.iterdir()} == before


@pytest.mark.parametrize("when", ["before the manifest", "after the manifest"])
def test_a_change_that_is_cut_short_leaves_a_whole_bundle(
    own: Used, others: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    if when == "before the manifest":
        monkeypatch.setattr(upkeep, "write_manifest", _fail)
    else:
        monkeypatch.setattr("pathlib.Path.unlink", _fail)
    with pytest.raises(UserError, match="cannot be written"):
        add_images(own.folder, others, "cpu")
    monkeypatch.undo()
    check_files(own.folder, read_manifest(own.folder))
    is_new = "3" in own.load().classes
    assert is_new == (when == "after the manifest")
    assert (own.folder / MANIFEST).exists()
    if not is_new:
        add_images(own.folder, others, "cpu")
        assert "3" in own.load().classes


def _fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_without_classes_is_refused(own: Used, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "x.png").touch()
    with pytest.raises(UserError, match="holds no folder; put the images into one for each class"):
        add_images(own.folder, tmp_path / "flat", "cpu")
    with pytest.raises(UserError, match="must be a folder"):
        add_images(own.folder, tmp_path / "no", "cpu")


def test_nothing_is_added_to_an_onnx_file(own: Used, others: Path) -> None:
    with pytest.raises(UserError, match=r"model\.onnx: is no bundle"):
        add_images(own.folder / "model.onnx", others)
