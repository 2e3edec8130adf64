"""Folders of small images, as somebody has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Makes a folder: class -> number of images, of a size; those of a class look alike."""

    def make(counts: dict[str, int], size: tuple[int, int] = (40, 24), under: str = "") -> Path:
        root = tmp_path / "mine"
        for shade, (name, n) in enumerate(counts.items()):
            place = root / under / name
            place.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([shade, len(under)])
            for i in range(n):
                noise = rng.integers(0, 120, (size[1], size[0], 3)) + 60 * shade
                Image.fromarray(noise.astype(np.uint8)).save(place / f"{i}.png")
        return root

    return make
