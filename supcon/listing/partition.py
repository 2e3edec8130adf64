"""Which images train, validate and test: given, or split off by class and group, from a seed."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from supcon.config import DataConfig
from supcon.listing.listing import some
from supcon.listing.names import NONE, TEST, TRAIN, VAL
from supcon.parsing import UserError

Indices = npt.NDArray[np.intp]
Labels = npt.NDArray[np.int64]

MOST_FOLDS = 100  # of a split by groups: its size is met to a hundredth
DRAWS = 10  # of folds, until one leaves every class on either side


def assign(
    parts: npt.NDArray[np.str_],
    labels: Labels,
    classes: Sequence[str],
    config: DataConfig,
    groups: Labels | None = None,
    is_lost: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.str_]:
    """The part of each image; those that are given stay, but for what is split off train.

    Args:
        parts: (N,) as given. Where no image has one, test is split off, too.
        labels: (N,) class ids.
        classes: their names.
        config: sizes and seed.
        groups: (N,) group ids; all images of one come into the same part.
        is_lost: (N,) images that neither train nor validate.

    Returns:
        (N,) train, val or test; empty for images that are lost, or that `data.train_size` leaves
        out.

    Raises:
        UserError: there are too few images or groups of a class, or a size is impossible.
    """
    parts = with_test(parts, labels, classes, config, groups)
    if is_lost is not None:
        parts[is_lost & (parts != TEST)] = NONE
    _check_counts(labels[parts == TRAIN], classes)
    if not (parts == VAL).any():
        if groups is not None:
            _check_groups_of_classes(labels, classes, groups, parts == TRAIN, 2)
        _split_off(parts, VAL, config.val_size, labels, groups, config.split_seed, left=1)
    if config.train_size is not None:
        here = np.flatnonzero(parts == TRAIN)
        kept = _kept(labels[here], config.train_size, len(classes), config.split_seed)
        parts[here] = NONE
        parts[here[kept]] = TRAIN
    return parts


def with_test(
    parts: npt.NDArray[np.str_],
    labels: Labels,
    classes: Sequence[str],
    config: DataConfig,
    groups: Labels | None = None,
) -> npt.NDArray[np.str_]:
    """The first step of `assign`: where no image has a part, some become test, all others train.

    Raises:
        UserError: there are too few images or groups of a class, or the size is impossible.
    """
    parts = parts.astype("U5")  # a copy; what is all empty has no room for a name
    if not (parts != NONE).any():
        parts[:] = TRAIN
        _check_counts(labels, classes, with_test=True)
        if groups is not None:
            _check_groups_of_classes(labels, classes, groups, parts == TRAIN, 3)
        _split_off(parts, TEST, config.test_size, labels, groups, config.split_seed, left=2)
    return parts


def check_groups(parts: npt.NDArray[np.str_], groups: Labels, names: Sequence[str]) -> None:
    """Refuse groups on two sides of a split.

    Args:
        parts: (N,) as given; empty: the image is on no side.
        groups: (N,) index into `names`.
        names: of the groups.

    Raises:
        UserError: with their number and three names.
    """
    sides = {(group, part) for group, part in zip(groups.tolist(), parts.tolist(), strict=True)}
    n_sides = Counter(group for group, part in sides if part != NONE)
    torn = sorted(names[group] for group, n in n_sides.items() if n > 1)
    if torn:
        raise UserError(
            f"data.group_column: {len(torn)} group(s) lie on two sides of a split: "
            f"{some(torn, 3)}; put each on one side, or leave the split out to have it made by "
            f"groups"
        )


def stratified(labels: Labels, n_second: int, seed: int) -> tuple[Indices, Indices]:
    """Sorted indices of a split into the rest and `n_second` images, by class.

    Where scikit-learn's split leaves a class out on one side, an image of it changes places with
    one of a class that has several there.

    Args:
        labels: (N,) class ids, at least 2 of each.
        n_second: images, at least one of each class on either side.
        seed: of the draw.
    """
    first, second = _drawn(labels, n_second, seed)
    rng = np.random.default_rng(seed)
    first, second = _with_every_class(labels, first, second, rng)
    second, first = _with_every_class(labels, second, first, rng)
    return np.sort(first), np.sort(second)


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


def _split_off(
    parts: npt.NDArray[np.str_],
    part: str,
    size: float,
    labels: Labels,
    groups: Labels | None,
    seed: int,
    *,
    left: int,
) -> None:
    """Make some of train `part`; by groups, leave so many of each class."""
    here = np.flatnonzero(parts == TRAIN)
    n_second = _count(part, size, labels[here])
    if groups is None:
        chosen = stratified(labels[here], n_second, seed)[1]
    else:
        share = n_second / len(here)
        chosen = _whole_groups(part, share, labels[here], groups[here], seed, left)
    parts[here[chosen]] = part


def _count(part: str, size: float, labels: Labels) -> int:
    """How many images are split off for val or test."""
    n, classes, key = len(labels), len(np.unique(labels)), f"data.{part}_size"
    n_second = round(size * n) if size < 1 else int(size)
    if not classes <= n_second <= n - classes:
        hint = f"; the smallest is {key}={classes}" if n_second < classes else ""
        raise UserError(
            f"{key} must leave at least one image of each of the {classes} classes on either "
            f"side: {classes} to {n - classes} of {n} images, got {n_second}{hint}"
        )
    return n_second


def _whole_groups(
    part: str, share: float, labels: Labels, groups: Labels, seed: int, left: int
) -> Indices:
    """What is split off for val or test, as whole groups."""
    least = 2 if part == TEST else 1  # a single group says nothing of how much others differ
    taken = by_groups(labels, groups, share, seed, left=left, least=least)
    if taken is None:
        raise UserError(
            f"data.group_column: of {DRAWS} draws of whole groups for {part}, each left a class "
            f"out on one side; give the parts in data.split_column, or add groups"
        )
    return taken


def _check_counts(labels: Labels, classes: Sequence[str], *, with_test: bool = False) -> None:
    needed, kind = (3, "") if with_test else (2, "training ")
    roles = "one to train, one to validate" + (", one to test" if with_test else "")
    for name, count in zip(classes, np.bincount(labels, minlength=len(classes)), strict=True):
        if count < needed:
            raise UserError(
                f"class '{name}' has {count} {kind}image(s), at least {needed} are needed "
                f"({roles}); add images or remove the class"
            )


def _check_groups_of_classes(
    labels: Labels,
    classes: Sequence[str],
    groups: Labels,
    is_here: npt.NDArray[np.bool_],
    needed: int,
) -> None:
    for label, name in enumerate(classes):
        n = len(np.unique(groups[(labels == label) & is_here]))
        if n < needed:
            raise UserError(
                f"class '{name}' lies in {n} group(s), at least {needed} are needed to have it on "
                f"each side of a split; add groups, or remove the class"
            )


def _kept(labels: Labels, size: int, classes: int, seed: int) -> Indices:
    """The training images that `data.train_size` keeps."""
    if size > len(labels) - classes:
        raise UserError(
            f"data.train_size must be at most {len(labels) - classes} ({classes} classes fewer); "
            f"leave it out to use all images; got {size}"
        )
    if size < 2 * classes:
        raise UserError(f"data.train_size must be at least {2 * classes} (2 a class), got {size}")
    is_single = (np.bincount(labels) == 1)[labels]  # kept in any case
    several = np.flatnonzero(~is_single)
    first, second = _drawn(labels[several], size - int(is_single.sum()), seed)
    rng = np.random.default_rng(seed)
    _, second = _with_every_class(labels[several], first, second, rng)
    return np.sort(np.concatenate([several[second], np.flatnonzero(is_single)]))


def _drawn(labels: Labels, n_second: int, seed: int) -> tuple[Indices, Indices]:
    # Imported here: two seconds that the workers of a search need not spend.
    from sklearn.model_selection import train_test_split

    first, second = train_test_split(
        np.arange(len(labels)), test_size=n_second, stratify=labels, random_state=seed
    )
    return first, second


def _with_every_class(
    labels: Labels, there: Indices, here: Indices, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """`there` and `here`, after images were exchanged for those of classes missing `here`."""
    there, here = there.copy(), here.copy()
    for label in np.setdiff1d(labels, labels[here]):
        most = np.bincount(labels[here]).argmax()
        out = rng.choice(np.flatnonzero(labels[here] == most))
        into = rng.choice(np.flatnonzero(labels[there] == label))
        here[out], there[into] = there[into], here[out]
    return there, here


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
