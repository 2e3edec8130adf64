"""A bundle in Python says what the run itself says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import supcon
from supcon.bundle import model as module
from supcon.bundle.model import Model, top
from supcon.evaluation.trained import predict
from supcon.images.loading import load_test
from supcon.parsing import UserError
from tests.bundled import Used


@pytest.fixture(scope="module")
def model(contrastive: Used) -> Model:
    return contrastive.load()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["contrastive", "plain"])
def test_each_classifier_says_of_every_test_image_what_the_run_says(
    kind: str, request: pytest.FixtureRequest
) -> None:
    used: Used = request.getfixturevalue(kind)
    test = load_test(used.config.data).images[:]
    expected = predict(used.trained, used.config, used.data.train, test)
    model = used.load()
    for by in ("probe", "knn", "head"):
        if by == "head" and kind == "contrastive":
            continue
        found = model.predict(test, by)
        assert found.ids.tolist() == expected[by].tolist()
        assert found.probabilities.shape == (len(test), 8)
        assert found.probabilities.sum(1) == pytest.approx(np.ones(len(test)), abs=1e-5)
        assert found.names == [used.data.classes[i] for i in expected[by].tolist()]
        assert (found.sureness >= found.probabilities.max(1) - 1e-6).all()


def test_an_image_in_any_form_is_the_same_image(contrastive: Used, model: Model) -> None:
    path = sorted((contrastive.images / "test" / "5").iterdir())[0]
    picture = Image.open(path)
    grey = np.asarray(picture)
    forms = {
        "path": path,
        "text": str(path),
        "picture": picture,
        "grey": grey,
        "one channel": grey[..., None],
        "colour": np.repeat(grey[..., None], 3, axis=2),
        "tensor": torch.from_numpy(grey.copy())[None],
        "colour tensor": torch.from_numpy(grey.copy())[None].repeat(3, 1, 1),
    }
    expected = model.embed(path)
    assert expected.shape == (1, model.gallery.embeddings.shape[1])
    for name, form in forms.items():
        assert np.array_equal(model.embed(form), expected), name  # type: ignore[arg-type]
    several = [*forms.values()]
    assert model.embed(several) == pytest.approx(expected.repeat(8, 0), abs=1e-5)  # type: ignore[arg-type]
    block = np.repeat(np.repeat(grey[..., None], 3, axis=2)[None], 3, axis=0)
    assert len(model.predict(block).ids) == 3
    assert len(model.predict(torch.from_numpy(block).permute(0, 3, 1, 2)).ids) == 3


def test_no_images_give_no_predictions(model: Model) -> None:
    found = model.predict([])
    assert (len(found.ids), found.probabilities.shape, found.names) == (0, (0, 8), [])
    assert model.embed([]).shape[0] == 0
    assert model.neighbours([]).paths == []


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4, 3), dtype=np.float32), "image 0: must be uint8 .* got float32"),
        (np.zeros((4, 4, 2), dtype=np.uint8), r"got uint8 \(4, 4, 2\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"\(C, H, W\).* got torch.uint8 \(4, 4, 3\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"got uint8 \(0, 4, 3\)"),
        ([3], "image 0: must be a path, a PIL image, .* got int"),
        ("no.jpg", "no.jpg: not a readable image"),
        (Image.new("I", (4, 4)), "image 0: .* mode I"),
    ],
)
def test_what_is_no_image_is_refused_with_the_rule(model: Model, image: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        model.predict(image)  # type: ignore[arg-type]


def test_the_nearest_of_a_training_image_is_that_image(contrastive: Used, model: Model) -> None:
    path = contrastive.images / "train" / "8" / "train-0005.png"
    found = model.neighbours(path, k=4)
    listed = [m for m in model.gallery.names.tolist() if m.endswith("8/train-0005.png")]
    if listed:  # else it went to val
        assert found.paths[0][0] == path
        assert found.similarities[0, 0] == pytest.approx(1, abs=1e-5)
    assert all(p.is_file() for p in found.paths[0])
    assert [p.parent.name for p in found.paths[0]] == found.names[0]
    assert (np.diff(found.similarities[0]) <= 0).all()


def test_digits_that_were_never_shown_are_farther_away(contrastive: Used, model: Model) -> None:
    known = model.predict(load_test(contrastive.config.data).images[:])
    others = model.predict(sorted((contrastive.images / "others").rglob("*.png")))
    assert others.is_unknown.mean() > 5 * known.is_unknown.mean()
    assert np.median(others.distances) > np.median(known.distances)
    limit = model.manifest.unknown.threshold
    assert limit is not None
    assert others.is_unknown.tolist() == (others.distances > limit).tolist()


def test_a_head_that_there_is_not_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match="--by head: this bundle has probe, knn"):
        model.predict([], by="head")


def test_the_most_probable_classes_come_in_order(model: Model, contrastive: Used) -> None:
    found = model.predict(load_test(contrastive.config.data).images[:9])
    rows = top(found, 3)
    for i, row in enumerate(rows):
        assert [name for name, _ in row] == [
            model.classes[j] for j in np.argsort(-found.probabilities[i], kind="stable")[:3]
        ]
    assert all(len(row) == 8 for row in top(found, 99))


def test_a_batch_that_does_not_fit_is_halved(
    contrastive: Used, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sizes = contrastive.load(), []
    images = load_test(contrastive.config.data).images[:40]
    forward = model.encode.network.encoder.forward  # type: ignore[attr-defined]

    def scarce(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    expected = model.embed(images)
    monkeypatch.setattr(model.encode.network.encoder, "forward", scarce)  # type: ignore[attr-defined]
    assert model.embed(images) == pytest.approx(expected, abs=1e-5)
    assert sizes[-3:] == [16, 16, 8]


def test_it_is_loaded_by_the_name_that_the_readme_gives(contrastive: Used) -> None:
    assert supcon.load is module.load
    assert supcon.load(str(contrastive.folder), device="cpu").classes == contrastive.data.classes
    assert Path(contrastive.folder / "bundle.json").is_file()
