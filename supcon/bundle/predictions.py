"""Predictions of any number of files as a table: a row for each, in their order."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from supcon.bundle.manifest import Classifier
from supcon.bundle.model import Model, Predictions, top
from supcon.intake.pictures import Block, decoded

PIXELS = 2**21  # of a block, on a CPU
MOST, FEWEST = 512, 16  # images of a block there
ON_GPU = 8  # times as many on a GPU, whose cores want more work at once, and
AHEAD = 2  # blocks that are decoded there while it computes


@dataclass
class Tally:
    """What became of the files so far."""

    read: int = 0
    unknown: int | None = None
    """None: none was compared with a gallery."""
    right: int = 0
    """Of those that lie in a folder called like a class."""
    labelled: int = 0
    errors: list[str] = field(default_factory=list)
    """The first of those that could not be read."""
    unreadable: int = 0

    def add(self, block: Block) -> None:
        """Count the files of a block."""
        self.read += len(block.places)
        self.unreadable += len(block.errors)
        missing = [f"{block.paths[i]}: {why}" for i, why in block.errors.items()]
        self.errors += missing[: max(0, 10 - len(self.errors))]


def blocks_of(model: Model, paths: Iterable[Path], tally: Tally) -> Iterator[Block]:
    """Files decoded in blocks of a size that depends on that of an image and on the device.

    Args:
        model: tells both.
        paths: of files.
        tally: counts them.
    """
    shape, on_gpu = model.manifest.preprocessing, model.encode.uses_gpu
    size = max(FEWEST, min(MOST, PIXELS // shape.size**2)) * (ON_GPU if on_gpu else 1)
    with tqdm(desc="images", unit="", leave=False, disable=None, delay=1) as bar:
        for block in decoded(paths, shape, size=size, ahead=AHEAD if on_gpu else 0):
            tally.add(block)
            yield block
            bar.update(len(block.paths))


class Table:
    """Writes rows of predictions."""

    def __init__(
        self, out: TextIO, model: Model, by: Classifier, n: int, *, labelled: bool
    ) -> None:
        """`n` classes are named in a row; `labelled`: folders are called like classes."""
        self.model, self.by, self.labelled = model, by, labelled
        known = model.classes if by == "knn" else model.manifest.classes
        self.n = min(n, len(known))
        self.rows = csv.DictWriter(out, self._columns(), lineterminator="\n", restval="")
        self.rows.writeheader()

    def _columns(self) -> list[str]:
        likely = [
            name.format(_nth(i)) for i in range(self.n) for name in ("class{}", "probability{}")
        ]
        given = ["path", "label"] if self.labelled else ["path"]
        about = ["unknown", "distance", "nearest", "nearest_class", "similarity", "note", "error"]
        return given + likely + about

    def add(self, block: Block, tally: Tally) -> None:
        """The files of a block."""
        rows: list[dict[str, Any]] = [{"path": str(path)} for path in block.paths]
        if len(block.places):
            found = self.model.judge(self.model.encode(block.pixels), self.by)
            for place, values in zip(block.places.tolist(), self._of(found), strict=True):
                rows[place] |= values
            if len(self.model.gallery):
                tally.unknown = (tally.unknown or 0) + int(found.is_unknown.sum())
        for place, note in block.notes.items():
            rows[place]["note"] = note
        for place, error in block.errors.items():
            rows[place]["error"] = error
        if self.labelled:
            self._compare(rows, block, tally)
        self.rows.writerows(rows)

    def _of(self, found: Predictions) -> Iterator[dict[str, Any]]:
        near = self._compared(found) if len(self.model.gallery) else repeat({})
        for pairs, compared in zip(top(found, self.n), near, strict=False):
            row: dict[str, Any] = {}
            for place, (name, share) in enumerate(pairs):
                row[f"class{_nth(place)}"], row[f"probability{_nth(place)}"] = name, f"{share:.6f}"
            yield row | compared

    def _compared(self, found: Predictions) -> Iterator[dict[str, Any]]:
        gallery, first = self.model.gallery, found.nearest.places[:, 0].numpy()
        columns = (
            found.is_unknown.tolist(),
            found.distances.tolist(),
            gallery.where(first, self.model.manifest.roots),
            gallery.labels[first].tolist(),
            found.nearest.cosines[:, 0].tolist(),
        )
        for is_unknown, far, path, label, cosine in zip(*columns, strict=True):
            yield {
                "unknown": int(is_unknown),
                "distance": f"{far:.6f}",
                "nearest": path,
                "nearest_class": self.model.classes[label],
                "similarity": f"{cosine:.6f}",
            }

    def _compare(self, rows: list[dict[str, Any]], block: Block, tally: Tally) -> None:
        for path, row in zip(block.paths, rows, strict=True):
            label = path.absolute().parent.name
            if "class" in row and label in self.model.classes:
                row["label"] = label
                tally.labelled += 1
                tally.right += label == row["class"]


def _nth(place: int) -> str:
    return "" if place == 0 else f"_{place + 1}"
