"""Copies of training images planted among test images, to see which of them an audit finds."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_sample_images

from supcon.audit.audit import ImageAudit, Part
from supcon.images.decoding import Pixels

EQUAL, NEAR, RELABELLED = 0.1, 0.01, 5  # shares of test; images
SIDE = 40

Change = Callable[[Image.Image], Image.Image]


def photos() -> Pixels:
    """(300, 40, 40, 3) pieces of scikit-learn's two photographs, which do not overlap."""
    pieces = [
        picture[y : y + SIDE, x : x + SIDE]
        for picture in load_sample_images().images
        for y in range(0, 400, SIDE)
        for x in range(0, 600, SIDE)
    ]
    return np.stack(pieces)


def detailed_photos(n: int) -> Pixels:
    """(n, 40, 40, 3) of these, in any order: those whose neighbouring pixels differ most."""
    pieces = photos()
    steps = np.abs(np.diff(pieces.astype(np.int16), axis=2)).mean((1, 2, 3))
    return pieces[np.random.default_rng(0).permutation(np.argsort(-steps, kind="stable")[:n])]


def compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file)


def resized(image: Image.Image, factor: float = 0.75) -> Image.Image:
    side = round(factor * image.width)
    return image.resize((side, side), Image.Resampling.BICUBIC).resize(
        image.size, Image.Resampling.BICUBIC
    )


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES: dict[str, Change] = {
    "compressed": compressed,
    "resized": resized,
    "mirrored": mirrored,
    "mirrored and compressed": lambda image: compressed(mirrored(image)),
}


@dataclass(frozen=True)
class Planted:
    """Test images of which it is known where they stem from."""

    test: Part
    equal: npt.NDArray[np.intp]
    """Which of them are copies of training images; the first `RELABELLED` have another label."""
    near: dict[str, npt.NDArray[np.intp]]
    """Change -> which are copies that were changed so."""


def plant(train: Part, test: Part, classes: int, *, near: float = NEAR, seed: int = 0) -> Planted:
    """Replace a tenth of the test images, and `near` of them by changed copies."""
    rng = np.random.default_rng(seed)
    pixels, labels, n = test.images[:].copy(), test.labels.copy(), len(test.labels)
    places = rng.permutation(n)
    n_equal, n_near = round(EQUAL * n), max(len(CHANGES), round(near * n))
    equal, changed = places[:n_equal], places[n_equal : n_equal + n_near]
    sources = rng.choice(len(train.labels), n_equal + n_near, replace=False)
    pixels[equal], labels[equal] = train.images[sources[:n_equal]], train.labels[sources[:n_equal]]
    labels[equal[:RELABELLED]] = (labels[equal[:RELABELLED]] + 1) % classes
    names = list(CHANGES)
    found: dict[str, list[int]] = {name: [] for name in names}
    for k, (place, source) in enumerate(zip(changed, sources[n_equal:], strict=True)):
        name = names[k % len(names)]
        original = Image.fromarray(train.images[source : source + 1][0])
        pixels[place] = np.asarray(CHANGES[name](original).convert("RGB"))
        labels[place] = train.labels[source]
        found[name].append(int(place))
    near_places = {name: np.array(found[name]) for name in names}
    return Planted(Part(test.name, pixels, labels), equal, near_places)


def missed(planted: Planted, audit: ImageAudit) -> dict[str, int]:
    """How many were not found, by what was done to them."""
    has_twin = audit.has_twin["test", "train"]
    kinds = {"equal": planted.equal, **planted.near}
    return {kind: int((~has_twin[places]).sum()) for kind, places in kinds.items()}


def falsely_named(planted: Planted, audit: ImageAudit) -> int:
    """Test images that are said to have a copy, and were not planted."""
    has_twin = audit.has_twin["test", "train"].copy()
    for places in (planted.equal, *planted.near.values()):
        has_twin[places] = False
    return int(has_twin.sum())
