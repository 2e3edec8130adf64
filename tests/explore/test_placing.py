"""The map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from supcon.evaluation.plane import Floats, NotDrawn
from supcon.explore import placing
from supcon.explore.judging import NotJudged
from supcon.explore.placing import GRID, check, places
from supcon.parsing import UserError


def test_places_fill_the_longer_side_and_keep_their_proportions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = np.array([[-10, 5], [30, 5], [10, 15]], dtype=np.float32)
    seen: list[Floats] = []

    def flatten(x: Floats, seed: int, method: str) -> Floats:
        seen.append(x)
        return given

    monkeypatch.setattr(placing, "flatten", flatten)
    said: list[str] = []
    found = places(torch.tensor([[3.0, 4.0], [1, 0], [0, 9]]), "tsne", 0, said.append)
    assert found.tolist() == [[0, 3750], [GRID, 3750], [5000, 6250]]
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), 1, atol=1e-6)
    assert said[0].startswith("t-SNE of 3 images, about 5 s")


def test_what_cannot_be_drawn_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotJudged, match=r"^the features of all images are equal$"):
        places(torch.ones(30, 4), "tsne", 0, lambda _: None)

    def crash(x: Floats, seed: int, method: str) -> Floats:
        raise NotDrawn("UMAP crashed (SIGSEGV)")

    monkeypatch.setattr(placing, "flatten", crash)
    with pytest.raises(NotJudged, match=r"^UMAP crashed"):
        places(torch.randn(30, 4), "umap", 0, lambda _: None)


def test_umap_that_is_not_installed_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placing, "find_spec", lambda name: None)
    check("tsne")
    with pytest.raises(UserError, match=r"^--map umap: needs umap-learn; install it with: pip "):
        check("umap")
