"""Groups of images, as of a patient: none is on two sides of a split."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from supcon.listing.listing import some
from supcon.listing.names import NONE, TEST, UNKNOWN
from supcon.parsing import UserError

Indices = npt.NDArray[np.intp]
Labels = npt.NDArray[np.int64]

MOST_FOLDS = 100  # of a split by groups: its size is met to a hundredth
DRAWS = 10  # of folds, until one leaves every class on either side


def check_groups(parts: npt.NDArray[np.str_], groups: Labels, names: Sequence[str]) -> None:
    """Refuse groups on two sides of a split.

    Args:
        parts: (N,) as given; empty: the image is on no side. Unknown ones are on that of test.
        groups: (N,) index into `names`.
        names: of the groups.

    Raises:
        UserError: with their number and three names.
    """
    side = np.where(parts == UNKNOWN, TEST, parts)
    sides = {(group, part) for group, part in zip(groups.tolist(), side.tolist(), strict=True)}
    n_sides = Counter(group for group, part in sides if part != NONE)
    torn = sorted(names[group] for group, n in n_sides.items() if n > 1)
    if torn:
        raise UserError(
            f"data.group_column: {len(torn)} group(s) lie on two sides of a split: "
            f"{some(torn, 3)}; put each on one side, or leave the split out to have it made by "
            f"groups"
        )


def check_classes(
    labels: Labels,
    classes: Sequence[str],
    groups: Labels,
    is_here: npt.NDArray[np.bool_],
    needed: int,
) -> None:
    """Refuse a class that lies in too few groups.

    Args:
        labels: (N,) class ids.
        classes: their names.
        groups: (N,) group ids.
        is_here: (N,) the images that count.
        needed: groups of each class.

    Raises:
        UserError: naming the class.
    """
    for label, name in enumerate(classes):
        n = len(np.unique(groups[(labels == label) & is_here]))
        if n < needed:
            raise UserError(
                f"class '{name}' lies in {n} group(s), at least {needed} are needed to have it on "
                f"each side of a split; add groups, or remove the class"
            )


def by_groups(
    labels: Labels, groups: Labels, share: float, seed: int, *, left: int = 1, least: int = 1
) -> Indices | None:
    """Sorted indices of whole groups that hold about a `share` of the images of each class.

    The folds of scikit-learn's StratifiedGroupKFold, as many of them together as come nearest; a
    class that they lack comes with its smallest group.

    Args:
        labels: (N,) class ids.
        groups: (N,) group ids.
        share: of the images, between 0 and 1.
        seed: of the draw.
        left: groups of each class that must be left.
        least: groups that must be taken.

    Returns:
        The images; None if no draw put every class on either side.
    """
    _, group = np.unique(groups, return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    counts_GC = np.zeros((group.max() + 1, len(classes)))
    np.add.at(counts_GC, (group, label), 1)
    n_folds, n_taken = _folds(share, min(len(counts_GC), int(counts_GC.sum(0).max())))
    for draw in range(DRAWS):
        fold_of = _fold_of(label, group, n_folds, seed + draw)
        fits: list[tuple[float, npt.NDArray[np.bool_]]] = []
        for start in range(n_folds):
            is_taken = _completed((fold_of - start) % n_folds < n_taken, counts_GC, left, least)
            if is_taken is not None:
                taken = counts_GC[is_taken].sum(0) / counts_GC.sum(0)
                fits.append((float(np.abs(taken - share).sum()), is_taken))
        if fits:
            return np.flatnonzero(min(fits, key=lambda fit: fit[0])[1][group])
    return None


def _fold_of(labels: Labels, groups: Labels, n_folds: int, seed: int) -> Labels:
    """(G,) the fold of each group."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed % 2**32)
    fold_of = np.empty(groups.max() + 1, dtype=np.int64)
    with warnings.catch_warnings():  # of classes with fewer images than folds
        warnings.simplefilter("ignore", UserWarning)
        for i, (_, fold) in enumerate(folds.split(labels, labels, groups)):
            fold_of[groups[fold]] = i
    return fold_of


def _completed(
    is_taken: npt.NDArray[np.bool_], counts_GC: npt.NDArray[np.float64], left: int, least: int
) -> npt.NDArray[np.bool_] | None:
    """(G,) groups to take so that no class is missing, nor less than the least number of groups.

    None if too few groups of a class would be left.
    """
    is_taken, has_GC = is_taken.copy(), counts_GC > 0
    for is_wanted in (*has_GC.T, *np.ones((least, len(counts_GC)), dtype=bool)):
        if is_taken[is_wanted].sum() >= (least if is_wanted.all() else 1):
            continue
        spare_C = has_GC[~is_taken].sum(0) > left
        free = is_wanted & ~is_taken & (spare_C | ~has_GC).all(1)
        if not free.any():
            return None
        is_taken[np.flatnonzero(free)[counts_GC[free].sum(1).argmin()]] = True
    return is_taken if (has_GC[~is_taken].sum(0) >= left).all() else None


def _folds(share: float, most: int) -> tuple[int, int]:
    """How many folds to make, at most so many, and how many of them together are the share."""
    choices = [(n, m) for n in range(2, min(most, MOST_FOLDS) + 1) for m in range(1, n)]
    return min(choices, key=lambda c: (round(abs(c[1] / c[0] - share), 2), c[0]))
