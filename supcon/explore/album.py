"""The images of a page by number: those that are looked at, then those that are shown with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from supcon.bundle.model import Model
from supcon.explore.looking import UNKNOWN, Looked
from supcon.explore.tiles import read_tiles
from supcon.images.decoding import Pixels


class Album:
    """Gives numbers; each file has one."""

    def __init__(self, looked: Looked, model: Model) -> None:
        """`looked` has the numbers from 0 on."""
        self.looked, self.model = looked, model
        self.paths = list(looked.paths)
        self.labels: list[int] = looked.labels.tolist()
        self._numbers = {path: i for i, path in enumerate(self.paths)}

    def of_gallery(self, place: int) -> int:
        """The number of an image of the gallery."""
        path = self.model.gallery.path(place, self.model.manifest.roots)
        return self._number(path, int(self.model.gallery.labels[place]))

    def of_file(self, path: Path) -> int:
        """The number of any file."""
        return self._number(path, UNKNOWN)

    def tiles(self) -> tuple[Pixels, dict[int, str]]:
        """(M, T, T, 3) of all that have a number, and which could not be read, and why."""
        n, preprocessing = len(self.looked), self.model.manifest.preprocessing
        side = self.looked.tiles.shape[1]
        more, missing = read_tiles(self.paths[n:], preprocessing, side)
        late = {n + i: why for i, why in missing.items()}
        return np.concatenate([self.looked.tiles, more]), self.looked.missing | late

    def _number(self, path: Path, label: int) -> int:
        if path not in self._numbers:
            self._numbers[path] = len(self.paths)
            self.paths.append(path)
            self.labels.append(label)
        return self._numbers[path]
