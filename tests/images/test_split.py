"""Images with their labels: parts, statistics and fingerprints of them."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from supcon.images.decoding import Pixels
from supcon.images.files import ImageFiles
from supcon.images.loading import load_splits
from supcon.images.split import Split, Splits, fingerprint
from tests.images.pictures import digits


def some(n: int = 6, *, channels: int = 3, seed: int = 0) -> Split:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, channels), dtype=np.uint8)
    return Split(pixels, np.arange(n) % 3)


def of(files: ImageFiles) -> Split:
    return Split(files, np.arange(len(files)) % 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_all_pixels_of_a_channel(channels: int) -> None:
    split = some(700, channels=channels)
    mean, std = split.channel_statistics
    pixels = split.images[:].reshape(-1, channels) / 255
    assert mean == pytest.approx(pixels.mean(0), rel=1e-12)
    assert std == pytest.approx(pixels.std(0), rel=1e-12)


def test_a_constant_channel_stays_constant_when_it_is_normalised() -> None:
    split = Split(np.full((3, 8, 8, 1), 51, dtype=np.uint8), np.zeros(3, dtype=np.int64))
    mean, std = split.channel_statistics
    assert mean == pytest.approx([0.2])
    assert std == [0.01]


def test_statistics_of_many_files_are_those_of_some(
    files: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.images.split.STATISTICS_IMAGES", 2)
    seen: list[int] = []
    look = ImageFiles.__getitem__

    def spy(self: ImageFiles, chosen: Any) -> Pixels:
        seen.append(len(look(self, chosen)))
        return look(self, chosen)

    monkeypatch.setattr(ImageFiles, "__getitem__", spy)
    mean, std = Split(files, np.zeros(5, dtype=np.int64)).channel_statistics
    assert sum(seen) == 2
    assert all(0 < value < 1 for value in mean + std)


def test_channel_statistics_travel_with_the_images_instead_of_being_computed_again() -> None:
    train = load_splits(digits()).train
    known = train.channel_statistics
    received = pickle.loads(pickle.dumps(train))
    assert vars(received)["channel_statistics"] == known


def test_a_part_has_the_images_and_labels_at_its_indices(files: ImageFiles) -> None:
    chosen = np.array([4, 0, 4])
    for split in (some(), of(files), of(files).decoded()):
        part = split.take(chosen)
        assert len(part) == 3
        assert type(part.images) is type(split.images)
        assert np.array_equal(part.images[:], split.images[:][chosen])
        assert part.labels.tolist() == split.labels[chosen].tolist()


def test_the_fingerprint_is_a_function_of_images_labels_and_classes() -> None:
    split, classes = some(), ("a", "b", "c")
    known = fingerprint([split], classes)
    assert fingerprint([some()], classes) == known
    touched = split.images[:].copy()
    touched[3, 2, 1, 0] ^= 1
    others = [
        fingerprint([replace(split, images=touched)], classes),
        fingerprint([replace(split, labels=split.labels[::-1].copy())], classes),
        fingerprint([split.take(np.array([1, 0, 2, 3, 4, 5]))], classes),
        fingerprint([replace(split, images=split.images[:].reshape(6, 4, 16, 3))], classes),
        fingerprint([split], ("a", "b", "d")),
        fingerprint([split, split], classes),
        fingerprint([split.take(np.arange(2)), split.take(np.arange(2, 6))], classes),
    ]
    assert len({known, *others}) == 8


def test_files_of_equal_lengths_are_told_apart_by_their_bytes_alone(files: ImageFiles) -> None:
    def seen(reads_files: bool) -> str:
        return fingerprint([of(files)], ("a", "b"), reads_files=reads_files)

    by_length, by_bytes = seen(False), seen(True)
    path = files.paths()[2]
    path.write_bytes(path.read_bytes()[::-1])
    assert seen(False) == by_length
    assert seen(True) != by_bytes


def test_splits_are_told_apart_by_what_is_in_val_and_what_in_train() -> None:
    a, b = some(seed=1), some(seed=2)
    classes = ("a", "b", "c")
    assert Splits(a, b, classes).fingerprint() != Splits(b, a, classes).fingerprint()
    assert Splits(a, b, classes).fingerprint() == fingerprint([a, b], classes)
