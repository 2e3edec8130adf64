"""How well one picture lies on another: against slow loops, on pieces of photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from supcon.audit.overlap import LEAST_DETAIL, PATCH, greys, overlap
from supcon.images.decoding import Pixels
from tests.audit.planted import detailed_photos, photos


@pytest.fixture(scope="module")
def pieces() -> Pixels:
    """(60, 32, 32, 3), of which none overlaps another."""
    return detailed_photos(60)[:, 4:36, 4:36]


def details(grey: np.ndarray) -> np.ndarray:
    line = np.array([1, 4, 6, 4, 1]) / 16
    padded, blurred = np.pad(grey, 2, mode="reflect"), np.zeros_like(grey)
    for y in range(5):
        for x in range(5):
            blurred += line[y] * line[x] * padded[y : y + len(grey), x : x + len(grey)]
    return grey - blurred


def test_it_is_the_best_correlation_of_a_slow_loop(
    pieces: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.audit.overlap.SIDES", (32,))
    one, two = 0, 9
    picture, other = (greys(pieces[i : i + 1])[0].numpy().astype(float) for i in (one, two))
    best = -1.0
    for each in (picture, picture[:, ::-1]):
        middle = details(each)[4:28, 4:28]
        middle = middle - middle.mean()
        for y in range(9):
            for x in range(9):
                window = details(other)[y : y + PATCH, x : x + PATCH]
                window = window - window.mean()
                spread = np.sqrt((window**2).sum() * (middle**2).sum())
                best = max(best, (window * middle).sum() / spread)
    shown = greys(pieces[[one, two]])
    assert overlap(shown[:1], shown[None]).tolist()[0] == pytest.approx([1, best], abs=1e-4)


def shifted(picture: Pixels) -> Pixels:
    out = picture.copy()
    out[4:, 4:] = picture[:-4, :-4]
    return out


def cropped(picture: Pixels) -> Pixels:
    crop = Image.fromarray(picture).crop((5, 3, 29, 27))
    return np.asarray(crop.resize((32, 32), Image.Resampling.BICUBIC))


CHANGES = {
    "shifted": shifted,
    "cropped": cropped,
    "shifted and mirrored": lambda picture: shifted(picture[:, ::-1]),
    "fainter": lambda picture: (picture * 0.5 + 60).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_pictures_lie_better_on_their_source_than_on_any_other(
    pieces: Pixels, change: str
) -> None:
    changed = np.stack([CHANGES[change](picture) for picture in pieces[:10]])
    found = overlap(greys(changed), greys(pieces)[None].expand(10, -1, -1, -1))
    assert found.argmax(1).tolist() == list(range(10))
    assert float(found.amax(1).min()) > 0.85


def test_pictures_without_detail_lie_well_on_none() -> None:
    rng = np.random.default_rng(0)
    noise = (100 + rng.integers(0, 2, (4, 32, 32))).astype(np.uint8)  # spread 0.5 levels
    assert noise.std() < LEAST_DETAIL
    found = overlap(torch.tensor(noise), torch.tensor(noise)[:, None])
    assert float(found.max()) < 0.5
    flat = torch.full((1, 32, 32), 7, dtype=torch.uint8)
    assert float(overlap(flat, flat[None])) == 0


def test_pictures_of_other_sizes_and_of_one_channel_are_made_the_same() -> None:
    assert greys(photos()[:2]).shape == (2, 32, 32)
    assert greys(np.zeros((2, 16, 16, 1), np.uint8)).shape == (2, 32, 32)
