"""scikit-learn's digits as image files in folders, as somebody would have them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from PIL import Image

from supcon.config import DataConfig
from supcon.images.loading import load_splits, load_test
from supcon.images.split import Split


def write_digits(root: Path, *, size: int = 16, but: Collection[str] = ()) -> None:
    """Write <root>/train/<digit>/*.png and <root>/test/<digit>/*.png.

    Args:
        root: of the folders, which are made.
        size: side of the images in pixels.
        but: digits that are left out of train and test; their images go to <root>/others/<digit>.
    """
    config = DataConfig(name="digits", image_size=size)
    data, test = load_splits(config), load_test(config)
    for split, part in ((data.train, "train"), (data.val, "train"), (test, "test")):
        _write(split, data.classes, root, part, but)


def _write(
    split: Split, classes: Collection[str], root: Path, part: str, but: Collection[str]
) -> None:
    names = list(classes)
    for image, label in zip(split.images[:], split.labels.tolist(), strict=True):
        name = names[label]
        folder = root / ("others" if name in but else part) / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{part}-{len([*folder.iterdir()]):04}.png")
