"""neighbours.html: images and the nearest of the gallery, with thumbnails."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supcon.bundle.model import Model
from supcon.explore.page import render
from supcon.explore.tiles import as_jpeg, read_tiles
from supcon.intake.pictures import Block

SIDE = 96  # of a picture, in pixels
MOST = 200  # images that a page shows


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it."""

    source: str
    """A data URI; empty: it cannot be read."""
    path: str
    name: str = ""
    """Its class."""
    similarity: float | None = None
    """Cosine with the image that it is near to."""


@dataclass(frozen=True)
class Row:
    """An image and its neighbours."""

    query: Picture
    near: list[Picture]


class Rows:
    """Collects what the page shows of blocks of files."""

    def __init__(self, model: Model, k: int) -> None:
        """`k` neighbours of each."""
        self.model, self.k, self.rows, self.left_out = model, k, list[Row](), 0
        self._known: dict[Path, str] = {}

    def add(self, block: Block) -> None:
        """The files of a block that could be read; beyond `MOST` they are counted only."""
        room = MOST - len(self.rows)
        self.left_out += max(0, len(block.places) - room)
        places = block.places[:room]
        if not len(places):
            return
        features = self.model.encode(block.pixels[:room]).features
        found = self.model.named(self.model.search(features, self.k))
        self._read({path for row in found.paths for path in row})
        queries = self._pictures([block.paths[i] for i in places])
        for i, path in enumerate(block.paths[place] for place in places):
            near = [
                Picture(self._known[at], str(at), name, float(cosine))
                for at, name, cosine in zip(
                    found.paths[i], found.names[i], found.similarities[i], strict=True
                )
            ]
            self.rows.append(Row(Picture(queries[i], str(path)), near))

    def page(self, bundle: Path) -> str:
        """The HTML."""
        missing = [path for path, source in self._known.items() if not source]
        return render(
            "neighbours.html.j2",
            bundle=bundle,
            rows=self.rows,
            left_out=self.left_out,
            most=MOST,
            missing=len(missing),
            first_missing=str(missing[0]) if missing else "",
        )

    def _read(self, paths: Iterable[Path]) -> None:
        new = sorted(set(paths) - self._known.keys())
        self._known |= dict(zip(new, self._pictures(new), strict=True))

    def _pictures(self, paths: list[Path]) -> list[str]:
        preprocessing = self.model.manifest.preprocessing
        shape = preprocessing.model_copy(update={"size": SIDE, "channels": 3})
        tiles, missing = read_tiles(paths, shape, SIDE)
        return ["" if i in missing else as_jpeg(tile) for i, tile in enumerate(tiles)]
