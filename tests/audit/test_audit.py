"""What an audit says of a data set: counted slowly again, and what was planted is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supcon.audit.audit import ImageAudit, Part, audit
from supcon.audit.findings import Twins
from supcon.images.decoding import Reading
from supcon.images.files import ImageFiles
from tests.audit.planted import RELABELLED, falsely_named, missed, photos, plant
from tests.images.pictures import photo


def pictures(seeds: list[int]) -> np.ndarray:
    return np.stack([np.asarray(photo(24, 24, seed)) for seed in seeds])


def part(name: str, seeds: list[int], labels: list[int]) -> Part:
    return Part(name, pictures(seeds), np.array(labels))


def between(found: ImageAudit, of: str, name: str) -> Twins:
    (twins,) = [each for each in found.twins if (each.part, each.of) == (name, of)]
    return twins


def test_what_was_planted_is_found_and_nothing_else() -> None:
    """Pieces of photographs with detail; of the rest only equal copies can be found."""
    pixels = photos()
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))]
    labels = np.arange(len(pixels)) % 3
    train, test = (
        Part("train", pixels[:200], labels[:200]),
        Part("test", pixels[200:], labels[200:]),
    )
    planted = plant(train, test, 3, near=0.2)
    found = audit([train, planted.test])
    assert missed(planted, found)["equal"] == 0
    assert sum(missed(planted, found).values()) <= 3 + found.looks[0].little_detail
    assert falsely_named(planted, found) == 0
    twins = between(found, "train", "test")
    assert (twins.equal, twins.other_label) == (10, RELABELLED)
    again = audit([train, planted.test], workers=2)
    assert np.array_equal(again.pairs, found.pairs)


def test_counts_are_those_of_a_slow_look_at_equal_pictures() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for name, n in (("train", 60), ("val", 20), ("test", 30)):
        colours = rng.integers(0, 40, n)  # few, so that many are equal
        pixels = np.zeros((n, 8, 8, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0] = colours
        parts.append(Part(name, pixels, rng.integers(0, 2, n)))
    found = audit(parts)
    assert len(found.twins) == 6
    for twins in found.twins:
        a, b = (next(p for p in parts if p.name == name) for name in (twins.part, twins.of))
        mask, other = np.zeros(len(a.labels), dtype=bool), 0
        for i, (image, label) in enumerate(zip(a.images[:], a.labels, strict=True)):
            equal = [
                j for j, x in enumerate(b.images[:])
                if np.array_equal(image, x) and not (a is b and i == j)
            ]  # fmt: skip
            mask[i] = bool(equal)
            other += any(b.labels[j] != label for j in equal)
        assert (twins.images, twins.equal, twins.other_label) == (mask.sum(), mask.sum(), other)
        assert np.array_equal(found.has_twin[twins.part, twins.of], mask)
    everything = np.concatenate([p.images[:] for p in parts]).reshape(110, -1)
    assert len(found.pairs) == 110 - len(np.unique(everything, axis=0))
    assert all(np.array_equal(everything[p["first"]], everything[p["second"]]) for p in found.pairs)
    assert (found.pairs["first"] < found.pairs["second"]).all()


def test_a_near_copy_of_one_of_several_equal_images_is_one_of_all() -> None:
    pixels = photos()
    sharp = pixels[np.argsort(-np.abs(np.diff(pixels.astype(int), axis=2)).mean((1, 2, 3)))]
    mirrored = sharp[:1, :, ::-1]
    train = Part("train", np.concatenate([sharp[:20], sharp[:1]]), np.arange(21))
    test = Part("test", np.concatenate([mirrored, mirrored, sharp[30:40]]), np.arange(12))
    found = between(audit([train, test]), "train", "test")
    assert (found.images, found.equal, found.other_label) == (2, 0, 2)


def test_an_index_into_all_is_a_place_in_its_part(tmp_path: Path) -> None:
    for i in range(3):
        photo(20, 20, i).save(tmp_path / f"{i}.png")
    files = ImageFiles(tmp_path, np.array([b"0.png", b"1.png", b"2.png"]), Reading(24))
    parts = [part("train", [5, 6], [0, 1]), Part("test", files, np.array([0, 1, 0]))]
    found = audit(parts)
    assert [(found.place(i)[0].name, found.place(i)[1]) for i in range(5)] == [
        ("train", 0), ("train", 1), ("test", 0), ("test", 1), ("test", 2),
    ]  # fmt: skip
    assert parts[0].name_of(1) == "1"
    assert parts[1].name_of(2) == str(tmp_path / "2.png")


def test_images_that_show_nothing_are_counted(tmp_path: Path) -> None:
    blank = np.full((2, 24, 24, 3), 9, dtype=np.uint8)
    smooth = np.arange(24, dtype=np.uint8)[None, :, None, None].repeat(24, 2).repeat(3, 3)
    pixels = np.concatenate([blank, smooth, pictures([1, 2])])
    found = audit([Part("train", pixels, np.zeros(5, dtype=np.int64)), part("test", [3], [0])])
    assert (found.looks[0].one_colour, found.looks[0].images) == (2, 5)
    assert found.looks[0].little_detail >= 1
    assert (found.looks[1].one_colour, found.looks[1].transparent) == (0, 0)
    Image.new("RGBA", (9, 9), (1, 2, 3, 100)).save(tmp_path / "0.png")
    files = ImageFiles(tmp_path, np.array([b"0.png"]), Reading(24))
    found = audit([Part("train", files, np.zeros(1, dtype=np.int64))])
    assert (found.looks[0].transparent, found.looks[0].animated) == (1, 0)


def test_groups_on_two_sides_are_counted_where_groups_are_known() -> None:
    train, test = part("train", [1, 2, 3, 4], [0, 1, 0, 1]), part("test", [5, 6], [0, 1])
    assert between(audit([train, test]), "train", "test").shared_groups is None
    train = Part("train", train.images, train.labels, np.array([0, 0, 1, 2]))
    test = Part("test", test.images, test.labels, np.array([2, 1]))
    assert between(audit([train, test]), "train", "test").shared_groups == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_decoded_images_of_any_channels_are_compared(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 20, 20, channels), dtype=np.uint8)
    labels = np.zeros(3, dtype=np.int64)
    parts = [Part("train", pixels[:3], labels), Part("test", pixels[[3, 1, 4]], labels)]
    assert audit(parts).has_twin["test", "train"].tolist() == [False, True, False]
