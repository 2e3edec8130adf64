"""Classes, neighbours and doubts, against slow loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from supcon.bundle.model import Model
from supcon.config import ProbeConfig
from supcon.explore.judging import NEAREST, SHOWN, Judged, NotJudged, confusions, judge, suspects
from supcon.explore.looking import PARTS, UNKNOWN, Looked, Part, look_at_bundle

RULE = ProbeConfig(l2=(0.1, 0.001), max_iter=30)


@pytest.fixture(scope="module")
def looked(model: Model, bundle: Path) -> Looked:
    return look_at_bundle(model, bundle, 1000)


def made(labels: list[int], features: torch.Tensor, part: Part = "given") -> Looked:
    n = len(labels)
    return Looked(
        [Path(f"{i}.png") for i in range(n)],
        np.full(n, PARTS.index(part)),
        np.array(labels),
        features,
        np.full(n, -1),
        np.zeros((n, 32, 32, 3), np.uint8),
        {},
    )


def judged_as(ids: list[int], sureness: list[float]) -> Judged:
    n = len(ids)
    far, near = np.zeros(n), torch.zeros(n, NEAREST, dtype=torch.int64)
    return Judged(np.array(ids), np.array(sureness), far, near)


def test_predictions_are_those_of_the_bundle(model: Model, looked: Looked) -> None:
    val = looked.places < 0
    judged = judge(model, looked, "probe")
    images = [path for path, new in zip(looked.paths, val, strict=True) if new]
    expected = model.predict(images)
    assert judged.ids[val].tolist() == expected.ids.tolist()
    np.testing.assert_allclose(judged.sureness[val], expected.sureness, atol=1e-5)
    np.testing.assert_allclose(judged.distances[val], expected.distances, atol=1e-5)
    near = model.search(torch.from_numpy(model.embed(images)), NEAREST).places
    assert torch.equal(judged.near[torch.from_numpy(val)], near)


def test_an_image_of_the_gallery_is_not_its_own_neighbour(model: Model, looked: Looked) -> None:
    judged = judge(model, looked, "knn")
    bank = torch.nn.functional.normalize(torch.from_numpy(model.gallery.embeddings), dim=1)
    for i in np.flatnonzero(looked.places >= 0):
        cosines = bank @ bank[looked.places[i]]
        cosines[looked.places[i]] = -2
        nearest = cosines.argsort(descending=True)[:NEAREST]
        np.testing.assert_allclose(
            cosines[judged.near[i]].numpy(), cosines[nearest].numpy(), atol=1e-6
        )
        assert looked.places[i] not in judged.near[i].tolist()
        far = 1 - cosines[nearest[model.manifest.unknown.k - 1]].item()
        assert judged.distances[i] == pytest.approx(far, abs=1e-6)


def test_confusions_count_each_new_image_with_a_label_once_the_surest_mistakes_first() -> None:
    labels, ids = [0, 0, 0, 1, 1, UNKNOWN], [1, 1, 0, 1, 1, 0]
    sureness = [0.6, 0.9, 0.7, 0.8, 0.5, 1.0]
    cells = confusions(made(labels, torch.zeros(6, 2)), judged_as(ids, sureness))
    assert [(cell.label, cell.predicted, cell.n, cell.shown) for cell in cells] == [
        (0, 0, 1, [2]),
        (0, 1, 2, [1, 0]),
        (1, 1, 2, [4, 3]),
    ]


def test_a_cell_shows_no_more_images_than_one_can_look_at() -> None:
    n = SHOWN + 5
    found = confusions(made([0] * n, torch.zeros(n, 2)), judged_as([1] * n, [0.5] * n))
    assert [(cell.n, len(cell.shown)) for cell in found] == [(n, SHOWN)]


def test_training_images_and_images_without_a_label_are_no_confusions() -> None:
    for each in (made([0, 1], torch.zeros(2, 2), "train"), made([-1, -1], torch.zeros(2, 2))):
        with pytest.raises(NotJudged, match="no image here has a label that is known"):
            confusions(each, judged_as([0, 0], [1.0, 1.0]))


def test_labels_that_were_exchanged_are_found_part_by_part() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]])
    true = torch.arange(90) % 3
    features = centres[true] + torch.randn(90, 3, generator=generator) / 2
    labels = true.tolist()
    labels[4], labels[80] = (labels[4] + 1) % 3, (labels[80] + 2) % 3
    looked = made(labels, features)
    parts = np.where(np.arange(90) < 60, PARTS.index("train"), PARTS.index("val"))
    found = suspects(replace(looked, parts=parts), RULE, 3, 0)
    assert {each.image for each in found} == {4, 80}
    assert all(each.predicted == true[each.image] and each.is_probable for each in found)


def test_images_without_a_label_do_not_shift_the_numbers_of_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(40) % 2
    features = torch.nn.functional.one_hot(true, 2) * 4.0
    features += torch.randn(40, 2, generator=generator) / 4
    labels = true.tolist()
    labels[0] = labels[7] = UNKNOWN
    labels[30] = 1 - labels[30]
    assert [each.image for each in suspects(made(labels, features), RULE, 2, 0)] == [30]


@pytest.mark.parametrize(
    ("labels", "counts"), [([0, 1] * 4, "8 of 2"), ([1] * 30, "30 of 1"), ([-1] * 30, "0 of 0")]
)
def test_too_few_labels_are_said(labels: list[int], counts: str) -> None:
    with pytest.raises(NotJudged, match=f"here are {counts}$"):
        suspects(made(labels, torch.randn(len(labels), 3)), RULE, 2, 0)
