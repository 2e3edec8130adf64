"""Folders of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supcon.images.decoding import Reading
from supcon.images.files import ImageFiles
from tests.images.pictures import COLOURS, photo


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three classes, each with 4 train and 2 test images of its colour in several formats."""
    for part, count in (("train", 4), ("test", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                size = (20 + 7 * i, 30 - 5 * i)
                path = tmp_path / part / name / f"{i}.{('png', 'jpg', 'JPEG', 'bmp')[i]}"
                Image.new("RGB", size, colour).save(path, quality=95)
    return tmp_path


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Five pictures in several formats and sizes."""
    names = ["0.jpg", "1.png", "2.jpg", "3.jpeg", "4.bmp"]
    for i, name in enumerate(names):
        photo(20 + i, 30 - 3 * i, seed=i).save(tmp_path / name)
    return ImageFiles(tmp_path, np.array(names, dtype=np.bytes_), Reading(16))


@pytest.fixture(scope="session")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30 pictures, told apart by brightness."""
    root = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", 30), ("test", 2)):
        for label, name in enumerate(("dark", "light")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                picture = np.asarray(photo(20, 24, seed=label * 100 + i)) // 2 + 128 * label
                Image.fromarray(picture).save(root / part / name / f"{i}.jpg")
    return root
