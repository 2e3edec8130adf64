"""What there is to know of a data set before anything trained on it is believed.

Pictures and labels are compared, nothing is trained or scored: sealed test images stay sealed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from supcon.audit.findings import Looks, Twins
from supcon.audit.marking import mark_all
from supcon.audit.marks import ANIMATED, ONE_COLOUR, TRANSPARENT, Marks, thumbnails
from supcon.audit.twins import PAIR, Indices, Pairs, near_pairs
from supcon.images.decoding import Pixels
from supcon.images.files import ImageFiles, Images


@dataclass(frozen=True)
class Part:
    """Images that are used together: train, val, test."""

    name: str
    images: Images
    """(N, H, W, C) uint8."""
    labels: npt.NDArray[np.int64]
    """(N,)."""
    groups: npt.NDArray[np.int64] | None = None
    """(N,) of which patient, video or product each image is; None: not known."""

    def name_of(self, i: int) -> str:
        """The path of an image, or its index; bytes that are no text are written as hex."""
        if not isinstance(self.images, ImageFiles):
            return str(i)
        return os.fsencode(self.images.paths(slice(i, i + 1))[0]).decode(errors="backslashreplace")


@dataclass(frozen=True)
class ImageAudit:
    """What was found."""

    parts: Sequence[Part]
    looks: list[Looks]
    twins: list[Twins]
    pairs: Pairs
    """Of indices into all parts, one after the other; equal ones have difference 0 and correlation
    1. Of k equal images there are k - 1 pairs, each with the first."""
    has_twin: dict[tuple[str, str], npt.NDArray[np.bool_]]
    """Part and another -> (N,) which images of the part have a copy in the other."""

    def place(self, i: int) -> tuple[Part, int]:
        """The part of an index into all, and the index there."""
        ends = np.cumsum([len(part.labels) for part in self.parts])
        which = int(np.searchsorted(ends, i, side="right"))
        return self.parts[which], i - int(ends[which]) + len(self.parts[which].labels)


def audit(parts: Sequence[Part], workers: int | None = None) -> ImageAudit:
    """Look all images over.

    Args:
        parts: of the data set, first those that later ones should not repeat.
        workers: as of `mark_all`.

    Raises:
        UserError: a file cannot be read, or is no image.
    """
    marks = np.concatenate(mark_all([part.images for part in parts], workers))
    of_part = np.repeat(np.arange(len(parts)), [len(part.labels) for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    digests = np.ascontiguousarray(marks["digest"]).view("<u8,<u8")[:, 0]
    _, firsts, content = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(firsts)  # contents in the order in which they are first met
    firsts, content = firsts[order], np.argsort(order)[content]
    near, can_tell = near_pairs(marks[firsts], lambda chosen: _thumbnails(parts, firsts[chosen]))
    overlap = _Overlap(of_part, labels, content, near, len(parts))
    twins, has_twin = [], {}
    for earlier, later in combinations_with_replacement(range(len(parts)), 2):
        found = overlap.between(later, earlier)
        name, of = parts[later].name, parts[earlier].name
        has_twin[name, of] = found[0]
        shared = None if earlier == later else _shared(parts[earlier], parts[later])
        counts = [int(mask.sum()) for mask in found]
        twins.append(
            Twins(part=name, of=of, images=counts[0], equal=counts[1], other_label=counts[2],
                  shared_groups=shared)
        )  # fmt: skip
    copies = np.setdiff1d(np.arange(len(labels)), firsts)
    equal = np.zeros(len(copies), PAIR)
    equal["first"], equal["second"], equal["correlation"] = firsts[content[copies]], copies, 1
    near["first"], near["second"] = firsts[near["first"]], firsts[near["second"]]
    is_smooth = ~can_tell[content]
    looks = [
        _looks(part, marks[of_part == i], is_smooth[of_part == i]) for i, part in enumerate(parts)
    ]
    return ImageAudit(parts, looks, twins, np.concatenate([equal, near]), has_twin)


class _Overlap:
    """Who has copies where: tables of contents (pictures that differ) by part."""

    def __init__(
        self, of_part: Indices, labels: Indices, content: Indices, near: Pairs, n_parts: int
    ) -> None:
        self.of_part, self.labels, self.content = of_part, labels, content
        shape = int(content.max(initial=-1)) + 1, n_parts
        self.count = np.zeros(shape, dtype=np.int64)
        self.low, self.high = np.full(shape, np.iinfo(np.int64).max), np.full(shape, -1)
        cell = content, of_part
        np.add.at(self.count, cell, 1)
        np.minimum.at(self.low, cell, labels)
        np.maximum.at(self.high, cell, labels)
        self.near = np.zeros(shape, dtype=bool)  # a near copy is there
        low, high = self.low.copy(), self.high.copy()
        for a, b in ((near["first"], near["second"]), (near["second"], near["first"])):
            np.logical_or.at(self.near, a, self.count[b] > 0)
            np.minimum.at(low, a, self.low[b])
            np.maximum.at(high, a, self.high[b])
        self.low, self.high = low, high

    def between(self, part: int, other: int) -> tuple[npt.NDArray[np.bool_], ...]:
        """(N,) who in a part have a copy in another, an equal one, one of another label."""
        own = self.of_part == part
        content, labels = self.content[own], self.labels[own]
        equal = self.count[content, other] > int(part == other)
        differs = (self.low[content, other] < labels) | (self.high[content, other] > labels)
        has_any = equal | self.near[content, other]
        return has_any, equal, has_any & differs


def _thumbnails(parts: Sequence[Part], chosen: Indices) -> Pixels:
    """(n, SIDE, SIDE, C) of ascending indices into all parts."""
    found, start = [], 0
    for part in parts:
        stop = start + len(part.labels)
        own = chosen[(chosen >= start) & (chosen < stop)] - start
        if len(own):
            found.append(thumbnails(part.images[own]))
        start = stop
    return np.concatenate(found)


def _shared(a: Part, b: Part) -> int | None:
    if a.groups is None or b.groups is None:
        return None
    return len(np.intersect1d(a.groups, b.groups))


def _looks(part: Part, marks: Marks, is_smooth: npt.NDArray[np.bool_]) -> Looks:
    def flagged(flag: int) -> int:
        return int((marks["flags"] & flag > 0).sum())

    one_colour = flagged(ONE_COLOUR)
    return Looks(
        part=part.name,
        images=len(marks),
        one_colour=one_colour,
        little_detail=int(is_smooth.sum()) - one_colour,
        transparent=flagged(TRANSPARENT),
        animated=flagged(ANIMATED),
    )
