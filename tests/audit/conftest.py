"""Folders of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supcon.images.decoding import Reading
from supcon.images.files import ImageFiles
from tests.images.pictures import photo


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    names = [f"{i}.png" for i in range(12)]
    (tmp_path / "images").mkdir()
    for i, name in enumerate(names):
        photo(40, 50, seed=i).save(tmp_path / "images" / name)
    return ImageFiles(tmp_path / "images", np.array(names, dtype=np.bytes_), Reading(32))
