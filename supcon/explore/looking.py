"""Which images are looked at, and their features: those of a bundle, or any that were named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supcon.bundle.gallery import HELD_OUT, Gallery
from supcon.bundle.model import Model
from supcon.bundle.predictions import Tally, blocks_of
from supcon.explore.tiles import read_tiles, side_of, small
from supcon.images.decoding import Pixels
from supcon.parsing import UserError

Ids = npt.NDArray[np.int64]
Part = Literal["train", "added", "val", "given"]
PARTS: tuple[Part, ...] = ("train", "added", "val", "given")
"""The gallery's training images, those added to it since, the bundle's val, and named ones."""
UNKNOWN = -1  # the label of an image without one


@dataclass(frozen=True)
class Looked:
    """N images."""

    paths: list[Path]
    """(N,)."""
    parts: Ids
    """(N,) indices into `PARTS`."""
    labels: Ids
    """(N,) indices into the gallery's classes, or `UNKNOWN`."""
    features: Tensor
    """(N, D), not normalised."""
    places: Ids
    """(N,) of those that are part of the gallery their places in it; -1 of the others."""
    tiles: Pixels
    """(N, T, T, 3)."""
    missing: dict[int, str]
    """Those whose file cannot be read, and why: their tile is grey."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def is_new(self) -> npt.NDArray[np.bool_]:
        """(N,) with a label, and not of those that the encoder was trained on."""
        return (self.labels != UNKNOWN) & (self.parts != PARTS.index("train"))


def look_at_bundle(model: Model, folder: Path, most: int) -> Looked:
    """Its gallery and its val, by the features that it holds; files are read for tiles alone.

    Args:
        model: of the bundle.
        folder: of the bundle.
        most: so many images at most, evenly picked; val, from which more is learned, gets half.
    """
    gallery, val = model.gallery, _held_out(model, folder)
    n_val = min(len(val), max(most // 2, most - len(gallery)))
    known = evenly(len(gallery), most - n_val)
    new = evenly(len(val), n_val)
    shown = gallery.take(_mask(known, len(gallery))).with_more(val.take(_mask(new, len(val))))
    paths = [shown.path(i, model.manifest.roots) for i in range(len(shown))]
    preprocessing = model.manifest.preprocessing
    tiles, missing = read_tiles(paths, preprocessing, side_of(preprocessing, len(paths)))
    parts = np.where(shown.is_added, PARTS.index("added"), PARTS.index("train"))
    parts[len(known) :] = PARTS.index("val")
    return Looked(
        paths,
        parts,
        shown.labels,
        torch.from_numpy(shown.embeddings.astype(np.float32)),
        np.concatenate([known, np.full(n_val, -1)]),
        tiles,
        missing,
    )


def look_at_files(model: Model, paths: Iterable[Path], most: int, tally: Tally) -> Looked:
    """Any files; a label is the name of the folder that a file lies in, if a class is called so.

    Args:
        model: embeds them.
        paths: of files.
        most: so many at most, evenly picked.
        tally: is told of those that cannot be read, which are left out.

    Raises:
        UserError: none can be read.
    """
    named = list(paths)
    chosen = [named[i] for i in evenly(len(named), most)]
    side = side_of(model.manifest.preprocessing, len(chosen))
    found: list[Path] = []
    features, tiles = [], []
    for block in blocks_of(model, chosen, tally):
        if len(block.places):
            found += [block.paths[i] for i in block.places]
            features.append(model.encode(block.pixels).features.cpu())
            tiles.append(small(block.pixels, side))
    if not found:
        reason = f" ({tally.errors[0]})" if tally.errors else ""
        raise UserError(f"DATA: no image could be read{reason}; name images that can")
    n, ids = len(found), {name: i for i, name in enumerate(model.classes)}
    labels = [ids.get(path.absolute().parent.name, UNKNOWN) for path in found]
    return Looked(
        found,
        np.full(n, PARTS.index("given")),
        np.array(labels, dtype=np.int64),
        torch.cat(features),
        np.full(n, -1),
        np.concatenate(tiles),
        {},
    )


def evenly(n: int, most: int) -> Ids:
    """At most so many of n indices, in order and with equal gaps."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)


def _held_out(model: Model, folder: Path) -> Gallery:
    """The bundle's val."""
    if HELD_OUT in model.manifest.files:
        return Gallery.load(folder / HELD_OUT)
    return model.gallery.take(np.zeros(len(model.gallery), dtype=np.bool_))


def _mask(chosen: Ids, n: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(n, dtype=np.bool_)
    mask[chosen] = True
    return mask
