"""Pairs of pictures that are copies of each other: resized, compressed anew, mirrored.

Two pieces of evidence, of disjoint parts of a picture. Its hash compares the lowest 8 x 8
frequencies, and finds candidates: pairs that differ in at most `MOST_BITS` of 64 bits, from a
window in sorted order, so that cost grows like sorting, however many pictures look alike. A
candidate is a pair if the frequencies beyond, which the hash does not see, correlate as well, and
no colour is far off.

Of digits drawn on 8 x 8 pixels, and less so of all drawings of lines, the low frequencies foretell
the others, so that these are no second piece of evidence. What a linear map foretells, fitted on a
sample, is taken off before anything is compared, and the larger its share, the more alike must be
what is left. Pictures of which next to nothing is left (`LEAST_DETAIL`) cannot be told from others
that look like them, and have only equal copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from supcon.audit.marks import LOW, SIDE, Floats, Marks, detail_of, grey_of, low_frequencies
from supcon.images.decoding import Pixels

MOST_BITS = 10
WINDOW = 16  # neighbours in sorted order that are compared
NEAREST = 8  # candidates of a picture that are looked at
LEAST_DETAIL = 3.0  # grey levels, root mean square
LEAST_CORRELATION = 0.5  # of the details; 1 where all of them is foretold
MOST_DIFFERENCE = 40.0  # levels, mean over pixels and channels
BLOCK = 512  # pairs that are looked at together
SAMPLE = 1024  # pictures on which the map is fitted
RIDGE = 1e-3  # of the mean square of a low frequency

Indices = npt.NDArray[np.int64]
PAIR = np.dtype(
    [("first", "<i8"), ("second", "<i8"), ("is_mirrored", "?"), ("difference", "<f4"),
     ("correlation", "<f4")]
)  # fmt: skip
Pairs = npt.NDArray[np.void]
"""(P,) of `PAIR`: second is a copy of first, which comes before it."""


@dataclass(frozen=True)
class Foretold:
    """What the low frequencies of a set of pictures say about the rest of them."""

    by: Floats
    """(LOW * LOW + 1, SIDE * SIDE): the linear map, its last row added."""
    share: float
    """Of the variance of the rest, 0 to 1, in pictures on which the map was not fitted."""

    def rest(self, grey: Floats) -> Floats:
        """(n, SIDE, SIDE) without what is low or foretold."""
        foretold = _with_one(grey) @ self.by
        return detail_of(grey) - foretold.reshape(grey.shape)

    def can_tell(self, marks: Marks) -> npt.NDArray[np.bool_]:
        """(N,) which pictures have enough left to be compared."""
        return marks["detail"] * np.sqrt(1 - self.share) >= LEAST_DETAIL


def foretell(grey: Floats) -> Foretold:
    """Fit on (n, SIDE, SIDE); on one half of them first, to see on the other what it is worth."""
    low, detail = _with_one(grey), detail_of(grey).reshape(len(grey), SIDE * SIDE)
    fitted, other = slice(0, None, 2), slice(1, None, 2)
    if len(grey) > 1:
        missed = detail[other] - low[other] @ _fit(low[fitted], detail[fitted])
        share = 1 - (missed**2).sum() / (detail[other] ** 2).sum().clip(1e-9)
        if share > 0:
            return Foretold(_fit(low, detail), float(share))
    return Foretold(np.zeros((low.shape[1], detail.shape[1])), 0.0)


def _with_one(grey: Floats) -> Floats:
    low = low_frequencies(grey).reshape(len(grey), LOW * LOW)
    return np.column_stack([low, np.full(len(low), float(SIDE))])


def _fit(low: Floats, detail: Floats) -> Floats:
    squares = low.T @ low
    ridge = RIDGE * np.trace(squares) / len(squares)
    return np.linalg.solve(squares + ridge * np.eye(len(squares)), low.T @ detail)


def near_pairs(
    marks: Marks, thumbnails_at: Callable[[Indices], Pixels]
) -> tuple[Pairs, npt.NDArray[np.bool_]]:
    """Pairs of near copies, and (N,) of which pictures there can be some.

    Args:
        marks: (N,) of different pictures.
        thumbnails_at: (n,) ascending indices -> (n, SIDE, SIDE, C) thumbnails.
    """
    some = np.unique(np.linspace(0, len(marks) - 1, min(SAMPLE, len(marks))).astype(np.int64))
    foretold = foretell(grey_of(thumbnails_at(some)).astype(np.float64))
    can_tell = foretold.can_tell(marks)
    found = looked_at(candidates(marks, can_tell), foretold, thumbnails_at)
    least = LEAST_CORRELATION + (1 - LEAST_CORRELATION) * foretold.share
    found = found[(found["correlation"] >= least) & (found["difference"] <= MOST_DIFFERENCE)]
    # One that is its own mirror image is found both ways.
    found = found[np.lexsort((found["difference"], found["second"], found["first"]))]
    _, once = np.unique(found[["first", "second"]], return_index=True)
    return found[once], can_tell


def candidates(marks: Marks, can_tell: npt.NDArray[np.bool_]) -> Pairs:
    """Pairs whose hashes are alike, at most `NEAREST` for each picture, the most alike ones."""
    able = np.flatnonzero(can_tell)
    n, hashes = len(able), np.concatenate([marks["hash"][able], marks["mirrored"][able]])
    octets = hashes.astype(">u8").view(np.uint8).reshape(len(hashes), 8)
    codes = np.zeros(0, dtype=np.uint64)
    for chosen in combinations(range(8), 2):  # two octets without an error are there if 6 bits err
        rest = [i for i in range(8) if i not in chosen]
        keys = np.ascontiguousarray(octets[:, [*chosen, *rest]]).view(">u8")[:, 0]
        order = np.argsort(keys.astype(np.uint64), kind="stable")
        codes = _nearest(np.concatenate([codes, *_in_window(order, hashes, n)]), hashes, n)
    pairs = np.zeros(len(codes), PAIR)
    second, first, pairs["is_mirrored"] = _decode(codes)
    pairs["first"], pairs["second"] = able[first], able[second]
    return pairs


def _in_window(
    order: Indices, hashes: npt.NDArray[np.uint64], n: int
) -> list[npt.NDArray[np.uint64]]:
    """Codes of the pairs among neighbours; places from n on are those of mirror images."""
    found, in_order = [], hashes[order]
    for step in range(1, min(WINDOW, len(order) - 1) + 1):
        is_alike = np.bitwise_count(in_order[:-step] ^ in_order[step:]) <= MOST_BITS
        a, b = order[:-step][is_alike], order[step:][is_alike]
        is_new = ((a < n) | (b < n)) & (a % n != b % n)
        a, b = a[is_new], b[is_new]
        later, earlier = np.maximum(a % n, b % n), np.minimum(a % n, b % n)
        code = later.astype(np.uint64) << 32 | earlier.astype(np.uint64) << 1
        found.append(code | ((a >= n) != (b >= n)).astype(np.uint64))
    return found


def _decode(codes: npt.NDArray[np.uint64]) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
    later, earlier = codes >> 32, codes >> 1 & 0x7FFFFFFF
    return later.astype(np.int64), earlier.astype(np.int64), codes & 1 == 1


def _nearest(
    codes: npt.NDArray[np.uint64], hashes: npt.NDArray[np.uint64], n: int
) -> npt.NDArray[np.uint64]:
    """Each code once, the `NEAREST` of each later picture."""
    codes = np.unique(codes)
    later, earlier, is_mirrored = _decode(codes)
    bits = np.bitwise_count(hashes[later] ^ hashes[earlier + n * is_mirrored])
    order = np.lexsort((bits, later))
    starts = np.searchsorted(later[order], later[order])
    return codes[order][np.arange(len(order)) - starts < NEAREST]


def looked_at(
    pairs: Pairs, foretold: Foretold, thumbnails_at: Callable[[Indices], Pixels]
) -> Pairs:
    """The pairs with their difference and correlation."""
    pairs = pairs.copy()
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        needed, at = np.unique([block["first"], block["second"]], return_inverse=True)
        thumbnails = thumbnails_at(needed)
        first, second = (thumbnails[i] for i in at.reshape(2, -1))
        mirror = block["is_mirrored"]
        second[mirror] = second[mirror][:, :, ::-1]
        gap = np.abs(first.astype(np.int16) - second)
        block["difference"] = gap.reshape(len(block), -1).mean(1)
        details = [foretold.rest(grey_of(each).astype(np.float64)) for each in (first, second)]
        a, b = (d / np.sqrt((d**2).sum((1, 2), keepdims=True)).clip(1e-9) for d in details)
        block["correlation"] = (a * b).sum((1, 2))
    return pairs
