"""Which images train, validate and test: given, or split off by class and group, from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from supcon.config import DataConfig
from supcon.listing.groups import DRAWS, Indices, Labels, by_groups, check_classes
from supcon.listing.names import NONE, PART, TEST, TRAIN, VAL
from supcon.parsing import UserError


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
            check_classes(labels, classes, groups, parts == TRAIN, 2)
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
    parts = parts.astype(PART)  # a copy; what is all empty has no room for a name
    if not (parts != NONE).any():
        parts[:] = TRAIN
        _check_counts(labels, classes, with_test=True)
        if groups is not None:
            check_classes(labels, classes, groups, parts == TRAIN, 3)
        _split_off(parts, TEST, config.test_size, labels, groups, config.split_seed, left=2)
    return parts


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
