"""Near copies: found whatever was done to them, told from what looks alike, at a bounded cost."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from supcon.audit import twins
from supcon.audit.marks import grey_of, low_frequencies, marks_of, thumbnails
from supcon.audit.twins import Foretold, candidates, foretell, near_pairs
from supcon.config import DataConfig
from supcon.images.decoding import Pixels
from supcon.images.loading import find_test
from tests.audit import planted
from tests.audit.planted import Change, resized


@pytest.fixture(scope="module")
def photos() -> Pixels:
    return planted.photos()


CHANGES: dict[str, Change] = {
    **planted.CHANGES,
    "made larger": lambda image: resized(image, 2.2),
    "brighter": lambda image: image.point([min(255, v + 15) for v in range(256)] * 3),
}


def found(pixels: Pixels) -> set[tuple[int, int]]:
    pairs, _ = near_pairs(marks_of(pixels), lambda i: thumbnails(pixels[i]))
    return set(zip(pairs["first"].tolist(), pairs["second"].tolist(), strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_whatever_was_done_to_it_and_nothing_else(
    photos: Pixels, change: str
) -> None:
    marks = marks_of(photos)
    some = np.flatnonzero(marks["detail"] > 6)[::4]
    copies = [np.asarray(CHANGES[change](Image.fromarray(photos[i]))) for i in some]
    pairs = found(np.concatenate([photos, np.stack(copies)]))
    expected = {(int(i), len(photos) + k) for k, i in enumerate(some)}
    assert len(expected) > 30
    assert len(expected - pairs) <= 0.05 * len(expected)
    assert pairs - expected == set()


def test_a_pair_says_how_it_was_found(photos: Pixels) -> None:
    picture = photos[np.argmax(marks_of(photos)["detail"])]
    pixels = np.stack([picture, picture[:, ::-1], photos[0]])
    (pair,), _ = near_pairs(marks_of(pixels), lambda i: thumbnails(pixels[i]))
    assert (pair["first"], pair["second"], bool(pair["is_mirrored"])) == (0, 1, True)
    assert pair["difference"] < 1
    assert pair["correlation"] > 0.99


def test_digits_that_look_alike_are_no_copies() -> None:
    digits = find_test(DataConfig(name="digits", image_size=32)).images[:]
    pairs, can_tell = near_pairs(marks_of(digits), lambda i: thumbnails(digits[i]))
    assert len(pairs) == 0
    assert can_tell.mean() < 0.15
    # They would be, by the details alone.
    plain, _ = _with(Foretold(np.zeros((65, 1024)), 0.0), digits)
    assert plain > 50


def _with(foretold: Foretold, pixels: Pixels) -> tuple[int, int]:
    marks = marks_of(pixels)
    pairs = candidates(marks, foretold.can_tell(marks))
    seen = twins.looked_at(pairs, foretold, lambda i: thumbnails(pixels[i]))
    return int((seen["correlation"] > 0.5).sum()), len(seen)


def test_what_low_frequencies_foretell_is_taken_off_and_no_more() -> None:
    rng = np.random.default_rng(0)
    grey = rng.normal(128, 30, (600, 32, 32))
    assert foretell(grey).share == 0  # of noise they say nothing
    drawn = np.repeat(np.repeat(rng.normal(128, 30, (600, 8, 8)), 4, 1), 4, 2)
    told = foretell(drawn)
    assert told.share > 0.99
    assert np.abs(told.rest(drawn)).mean() < 1
    half = foretell(drawn + rng.normal(0, 10, drawn.shape))
    assert 0.3 < half.share < 0.95
    assert np.abs(low_frequencies(half.rest(drawn))).max() < 1e-3 * np.abs(drawn).sum()
    assert foretell(grey[:1]).share == 0


def _slowly(hashes: list[int], mirrored: list[int]) -> set[tuple[int, int, bool]]:
    return {
        (i, j, is_mirrored)
        for i, j in combinations(range(len(hashes)), 2)
        for is_mirrored, others in ((False, hashes), (True, mirrored))
        if (hashes[j] ^ others[i]).bit_count() <= 6
    }


def test_all_pairs_of_up_to_six_bits_are_candidates() -> None:
    """A slow look at every pair; the window holds all neighbours of so few."""
    rng = np.random.default_rng(0)
    base = [int(rng.integers(0, 2**63)) for _ in range(12)]
    hashes, mirrored = [], []
    for i in range(120):
        flips = rng.choice(64, size=i % 9, replace=False)
        hashes.append(base[i % 12] ^ sum(1 << int(b) for b in flips))
        mirrored.append(base[(i + 5) % 12] if i % 2 else int(rng.integers(0, 2**63)))
    marks = marks_of(np.zeros((120, 8, 8, 1), dtype=np.uint8))
    marks["hash"], marks["mirrored"] = hashes, mirrored
    pairs = candidates(marks, np.ones(120, dtype=bool))
    ours = {(int(p["first"]), int(p["second"]), bool(p["is_mirrored"])) for p in pairs}
    by_second = {second for _, second, _ in _slowly(hashes, mirrored)}
    assert {second for _, second, _ in ours} >= by_second
    counts = np.bincount([second for _, second, _ in ours])
    assert counts.max() <= twins.NEAREST
    few = {p for p in _slowly(hashes, mirrored) if counts[p[1]] < twins.NEAREST}
    assert few - {p for p in ours if p[1] in {q[1] for q in few}} == set()
    assert len(few) > 20


def test_however_many_look_alike_few_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = marks_of(np.zeros((3000, 8, 8, 1), dtype=np.uint8))
    marks["hash"], marks["mirrored"] = 12345, 2**60
    compared = list[int]()
    original = np.bitwise_count

    def spy(x: np.ndarray) -> np.ndarray:
        compared.append(len(x))
        return original(x)

    monkeypatch.setattr(np, "bitwise_count", spy)
    pairs = candidates(marks, np.ones(3000, dtype=bool))
    assert len(pairs) <= twins.NEAREST * 3000
    assert max(compared) <= 3000 * (2 * twins.WINDOW + twins.NEAREST)


def test_colours_that_are_far_off_make_another_picture(photos: Pixels) -> None:
    picture = photos[np.argmax(marks_of(photos)["detail"])]
    grey = grey_of(picture[None])[0]
    red = np.stack([grey, grey // 4, grey // 4], -1)
    blue = np.stack([grey // 4, grey // 4, grey], -1)
    assert found(np.stack([red, blue])) == set()


def test_sets_of_no_or_one_picture_have_no_pairs(photos: Pixels) -> None:
    for n in (0, 1, 2):
        assert found(photos[[0, 140][:n]]) == set()
