"""Data sets -> splits: train and val for everybody, test for those who ask for it by name.

The validation images are a folder's own, or a stratified, seeded part of the training images.
`load_splits` never touches the test images; they are reached by `load_test` and `find_test` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from supcon.config import DataConfig
from supcon.images.memory import has_room_for
from supcon.images.sources import load_folder, load_published, part_of_folder
from supcon.images.split import Split, Splits
from supcon.parsing import UserError


def load_splits(config: DataConfig) -> Splits:
    """Train and val of the configured data set.

    Args:
        config: which images, and how they are split.

    Returns:
        Images decoded in memory, or those of a folder in their files, as `data.pipeline` says.

    Raises:
        UserError: the images are missing, broken, or too few for the split.
    """
    if config.name == "folder":
        train, val, classes = load_folder(config)
    else:
        train, classes = load_published(config, "train")
        val = None
    _check_class_counts(train, classes)
    if val is None:
        train, val = _split_off_val(train, config)
    if config.train_size is not None:
        train = _shrink(train, config.train_size, len(classes), config.split_seed)
    _check_every_class_is_there(train, "train", classes)
    _check_every_class_is_there(val, "val", classes)
    return Splits(train, val, classes)


def load_test(config: DataConfig) -> Split:
    """The sealed test images. A search calls this in one place only: `search/judge/sealed.py`.

    Raises:
        UserError: the images are missing or broken.
    """
    test = find_test(config)
    # Other copies of images may be in memory by now: what does not fit is read from its files.
    is_kept = config.pipeline != "streaming" and has_room_for([test])
    return test.decoded() if is_kept else test


def find_test(config: DataConfig) -> Split:
    """The same images, those of a folder not decoded: to count them, or to tell them apart.

    Raises:
        UserError: the images are missing.
    """
    if config.name == "folder":
        return part_of_folder(config, "test")
    return load_published(config, "test")[0]


def check_test(config: DataConfig) -> None:
    """Raise unless the test images of a folder are there and can be read; none is kept.

    A search would otherwise find a broken file only after all training.

    Raises:
        UserError: an image is missing or broken.
    """
    if config.name == "folder":
        part_of_folder(config, "test").check()


def count_test(config: DataConfig) -> int:
    """How many test images there are; nothing else of them is told."""
    return len(find_test(config))


def check_batch_size(batch_size: int, n_train: int) -> None:
    """Refuse a batch of more than a quarter of the training images.

    The incomplete last batch of an epoch is dropped; with a large one, most images would be.

    Raises:
        UserError: the batch is too large.
    """
    if batch_size > n_train // 4:
        raise UserError(
            f"data.batch_size must be at most a quarter of the {n_train} training images "
            f"({n_train // 4}), since incomplete batches are dropped; got {batch_size}"
        )


def _check_class_counts(train: Split, classes: Sequence[str]) -> None:
    counts = np.bincount(train.labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count < 2:
            raise UserError(
                f"class '{name}' has {count} training image(s), at least 2 are needed (one to "
                f"train, one to validate); add images or remove the class"
            )


def _split_off_val(train: Split, config: DataConfig) -> tuple[Split, Split]:
    n, classes = len(train), len(np.unique(train.labels))
    n_val = round(config.val_size * n) if config.val_size < 1 else int(config.val_size)
    if not classes <= n_val <= n - classes:
        raise UserError(
            f"data.val_size must leave at least one image of each of the {classes} classes on "
            f"either side: {classes} to {n - classes} of {n} images, got {n_val}"
        )
    rest, val = _stratified(train.labels, n_val, config.split_seed)
    return train.take(rest), train.take(val)


def _check_every_class_is_there(split: Split, part: str, classes: Sequence[str]) -> None:
    missing = np.flatnonzero(np.bincount(split.labels, minlength=len(classes)) == 0)
    if len(missing):
        raise UserError(
            f"class '{classes[missing[0]]}' has no image in {part}; add some, or, if {part} was "
            f"split off, change data.val_size or data.train_size"
        )


def _shrink(train: Split, size: int, classes: int, seed: int) -> Split:
    if size > len(train) - classes:
        raise UserError(
            f"data.train_size must be at most {len(train) - classes} ({classes} classes fewer); "
            f"leave it out to use all images; got {size}"
        )
    if size < 2 * classes:
        raise UserError(f"data.train_size must be at least {2 * classes} (2 a class), got {size}")
    _, kept = _stratified(train.labels, size, seed)
    return train.take(kept)


def _stratified(
    labels: npt.NDArray[np.int64], n_second: int, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Sorted indices of a stratified split into the rest and `n_second` images."""
    from sklearn.model_selection import train_test_split

    first, second = train_test_split(
        np.arange(len(labels)), test_size=n_second, stratify=labels, random_state=seed
    )
    return np.sort(first), np.sort(second)
