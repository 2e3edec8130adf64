"""Images of unknown classes: test images of classes held out, and what lies in `data.unknown`.

They are sealed as the test images are: `supcon.images.loading` alone comes here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from supcon.config import DataConfig
from supcon.images.decoding import Pixels
from supcon.images.files import ImageFiles, Images
from supcon.images.sources import absolute, list_images, load_published, part_of, reading_of
from supcon.images.split import Split
from supcon.listing.listing import FILES, Listing, Reader, some
from supcon.listing.names import NONE, TEST, UNKNOWN
from supcon.listing.walk import Walk
from supcon.parsing import UserError

NO_CLASS = -1  # the label of an unknown image


@dataclass(frozen=True)
class Source:
    """Images of unknown classes that come from one place."""

    split: Split
    """Those in files are not decoded; labels mean nothing."""
    what: str
    """What they are, for a person."""

    def __str__(self) -> str:
        return f"{len(self.split):,} {self.what}"


def sources_of(config: DataConfig) -> list[Source]:
    """Where images of unknown classes come from: nowhere, one place or two.

    Raises:
        UserError: a place that the config names has none, or some of them are known ones.
    """
    listing = None
    if config.is_own and (config.hold_out or config.unknown or config.name == "table"):
        listing = list_images(config, (TEST,))
    held, classes = _held_out(config, listing)
    found = []
    if held is not None:
        if not len(held):
            raise UserError(
                f"data.hold_out: the classes held out ({some(classes)}) have no test image; add "
                f"some, or have others drawn by another data.split_seed"
            )
        of = f"the held-out classes {some(classes)}" if classes else f"split {UNKNOWN}"
        found.append(Source(held, f"test images of {of}"))
    if config.unknown is not None:
        folder = absolute(config.unknown, "data.unknown")
        others = _below(folder, config)
        if listing is not None:
            _check_apart(others, listing)
        found.append(Source(Split(others, _no_class(len(others))), f"images under {folder}"))
    return found


def together(sources: Sequence[Source], config: DataConfig) -> Split:
    """All unknown images.

    Args:
        sources: at least one.
        config: says how many channels they must have.

    Returns:
        Labels are -1. Where the known images come in groups, one from elsewhere is a group of its
        own. Those that are all in files are not decoded, unless they have to become grey.
    """
    splits = [source.split for source in sources]
    images = _joined([split.images for split in splits], 1 if config.name == "digits" else 3)
    groups = splits[0].groups
    if groups is not None and len(splits) > 1:
        groups = np.append(groups, groups.max() + 1 + np.arange(len(splits[1])))
    return Split(images, _no_class(len(images)), groups)


def _no_class(n: int) -> npt.NDArray[np.int64]:
    return np.full(n, NO_CLASS, dtype=np.int64)


def _held_out(config: DataConfig, listing: Listing | None) -> tuple[Split | None, tuple[str, ...]]:
    """Test images of the classes that are held out, if any are; and these."""
    if listing is None:
        return load_published(config, UNKNOWN) if config.hold_out else (None, ())
    if not (config.hold_out or (listing.parts == UNKNOWN).any()):
        return None, ()
    return part_of(listing, UNKNOWN, config), tuple(filter(None, listing.held_out))


def _below(folder: Path, config: DataConfig) -> ImageFiles:
    """All images under the folder of the unknown ones."""
    if not os.path.isdir(folder):
        raise UserError(
            f"data.unknown: {folder} must be a folder with images of other classes, and "
            f"{'is none' if os.path.exists(folder) else 'there is nothing'}"
        )
    (names,) = Walk(folder, "data.unknown").images([folder])
    if not names:
        raise UserError(
            f"data.unknown: {folder} holds no images (.jpg, .png, and all that Pillow decodes); "
            f"add some, or leave it out"
        )
    encoded = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
    return ImageFiles(folder, encoded, reading_of(config))


def _check_apart(others: ImageFiles, listing: Listing) -> None:
    """Refuse files that are known images, or unknown ones already."""
    if listing.reader is not FILES:
        return
    real = cache(os.path.realpath)
    known = {
        (real(path.parent), path.name)
        for path in map(listing.path, np.flatnonzero(listing.parts != NONE).tolist())
    }
    twice = [path for path in others.paths() if (real(path.parent), path.name) in known]
    if twice:
        raise UserError(
            f"data.unknown: {len(twice):,} of its {len(others):,} images are among those of "
            f"data.root: {some([str(path) for path in twice], 3)}; name a folder outside of it"
        )


@dataclass(frozen=True)
class _FilesBeside:
    """Reads the files under a folder, and hands on what is asked besides."""

    folder: Path
    other: Reader

    def read(self, path: Path) -> bytes:
        return self._of(path).read(path)

    def length(self, path: Path) -> int:
        return self._of(path).length(path)

    def _of(self, path: Path) -> Reader:
        return FILES if path.is_relative_to(self.folder) else self.other


def _joined(several: Sequence[Images], channels: int) -> Images:
    first, last = several[0], several[-1]
    if channels == 1 or not isinstance(first, ImageFiles) or not isinstance(last, ImageFiles):
        return np.concatenate([_with_channels(images[:], channels) for images in several])
    if len(several) == 1:
        return first
    above = Path(os.path.commonpath([first.root, last.root]))
    paths = [*first.paths(), *last.paths()]
    names = np.array([os.fsencode(path.relative_to(above)) for path in paths], dtype=np.bytes_)
    return ImageFiles(above, names, first.reading, _FilesBeside(last.root, first.reader))


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    if pixels.shape[3] == channels:
        return pixels
    grey = [np.asarray(Image.fromarray(picture).convert("L")) for picture in pixels]
    return np.stack(grey)[..., None]
