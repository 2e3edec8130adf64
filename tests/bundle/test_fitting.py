"""What a bundle fits on held-out images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supcon.bundle.fitting import fitted_neighbours, reach, with_temperature
from supcon.bundle.gallery import GALLERY, HELD_OUT, Gallery
from supcon.bundle.manifest import Manifest, read_manifest
from supcon.bundle.nearest import TIES, ExactSearch
from tests.bundled import Used


@pytest.fixture(scope="module")
def parts(contrastive: Used) -> tuple[Manifest, Gallery, Gallery]:
    folder = contrastive.folder
    return read_manifest(folder), Gallery.load(folder / GALLERY), Gallery.load(folder / HELD_OUT)


def fitted(manifest: Manifest, gallery: Gallery, held_out: Gallery) -> Manifest:
    search = ExactSearch(gallery, torch.device("cpu"))
    return fitted_neighbours(manifest, gallery, held_out, search)


def test_the_same_gallery_gives_the_same_rule(parts: tuple[Manifest, Gallery, Gallery]) -> None:
    manifest, *galleries = parts
    again = fitted(manifest, *galleries)
    assert again.unknown == manifest.unknown
    assert again.temperatures == pytest.approx(manifest.temperatures)


def test_classes_that_the_gallery_lost_set_no_threshold(
    parts: tuple[Manifest, Gallery, Gallery],
) -> None:
    manifest, gallery, held_out = parts
    found = fitted(manifest, gallery.take(gallery.labels != 0), held_out)
    assert found.unknown.images == (held_out.labels != 0).sum()
    assert found.unknown.threshold == pytest.approx(manifest.unknown.threshold, rel=0.5)


def test_a_bundle_of_all_images_keeps_its_rule(parts: tuple[Manifest, Gallery, Gallery]) -> None:
    manifest, gallery, held_out = parts
    source = manifest.source.model_copy(update={"on": "all"})
    kept = manifest.model_copy(update={"source": source})
    some = gallery.take(np.arange(len(gallery)) % 2 == 0)
    assert fitted(kept, some, held_out) == kept


def test_a_temperature_is_told_with_what_it_changed(
    parts: tuple[Manifest, Gallery, Gallery],
) -> None:
    logits = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * 8
    labels = torch.multinomial((logits / 4).softmax(1), 1)[:, 0]
    found = with_temperature(parts[0], "head", logits, labels)
    told = found.calibration["head"]
    assert found.temperatures["head"] == pytest.approx(4, rel=0.3)
    assert told.nll_before == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
    assert told.nll < told.nll_before
    assert told.error < told.error_before


def test_neighbours_are_looked_up_as_far_as_they_are_needed(
    parts: tuple[Manifest, Gallery, Gallery],
) -> None:
    assert reach(parts[0]) == max(parts[0].neighbours.k, parts[0].unknown.k) + TIES
