"""Data sets -> splits: train and val for everybody, test for those who ask for it by name.

`load_splits` never looks at a test image; they are reached by `load_test` and `find_test` alone,
those of unknown classes, which are sealed like them, by `load_unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from supcon.config import DataConfig
from supcon.images.files import ImageFiles
from supcon.images.memory import has_room_for, is_resident
from supcon.images.sources import list_images, load_published, part_of
from supcon.images.split import Split, Splits
from supcon.images.unknown import Source, sources_of, together
from supcon.listing.broken import refuse_broken
from supcon.listing.listing import LeftOut
from supcon.listing.names import TEST, TRAIN, VAL
from supcon.listing.partition import assign
from supcon.parsing import UserError


def load_splits(config: DataConfig) -> Splits:
    """Train and val of the configured data set.

    Args:
        config: which images, and how they are split.

    Returns:
        Images decoded in memory, or those in files, as `data.pipeline` says.

    Raises:
        UserError: the images are missing, broken, or too few for the split.
    """
    if config.is_own:
        data = _load_own(config)
    else:
        whole, classes = load_published(config, "train")
        parts = assign(np.full(len(whole), TRAIN), whole.labels, classes, config)
        train, val = (whole.take(np.flatnonzero(parts == part)) for part in (TRAIN, VAL))
        data = Splits(train, val, classes)
    for part, split in ((TRAIN, data.train), (VAL, data.val)):
        _check_every_class_is_there(split, part, data.classes)
    return data


def _load_own(config: DataConfig) -> Splits:
    broken: tuple[str, ...] = ()
    while True:
        listing = list_images(config, (TRAIN, VAL), broken)
        splits = [part_of(listing, part, config) for part in (TRAIN, VAL)]
        is_kept, found = is_resident(config, splits), tuple[str, ...]()
        if is_kept or config.broken == "skip":  # otherwise `Splits.check` looks at them
            splits, found = _looked_at(splits, config, is_kept=is_kept)
        if not found:
            train, val = splits
            return Splits(train, val, listing.classes, replace(listing.left_out, broken=broken))
        broken += found  # once more: val is split off those that are whole


def in_files(config: DataConfig, data: Splits) -> Splits:
    """The same train and val, not decoded, where they have files: those in memory lost their names.

    Args:
        config: that they were loaded by.
        data: as `load_splits` gave them.
    """
    if not config.is_own or isinstance(data.train.images, ImageFiles):
        return data
    listing = list_images(config, (TRAIN, VAL), data.left_out.broken)
    train, val = (part_of(listing, part, config) for part in (TRAIN, VAL))
    return replace(data, train=train, val=val)


def _looked_at(
    splits: list[Split], config: DataConfig, *, is_kept: bool
) -> tuple[list[Split], tuple[str, ...]]:
    """Splits without files that are broken, and which these are; each is decoded once.

    Args:
        splits: of images in files.
        config: says whether broken ones are left out.
        is_kept: whether the pictures are kept, decoded.

    Raises:
        UserError: files are broken, and none is to be left out.
    """
    found: list[Split] = []
    problems: list[UserError] = []
    lost: list[str] = []
    for split in splits:
        files = split.images
        assert isinstance(files, ImageFiles)
        pixels, broken = files.decode() if is_kept else (files, files.broken())
        whole = replace(split, images=pixels)
        problems += broken.values()
        lost += [str(path) for path in files.paths(np.array([*broken], dtype=np.intp))]
        found.append(whole.take(np.delete(np.arange(len(whole)), [*broken])) if broken else whole)
    if config.broken == "refuse":
        refuse_broken(problems, sum(map(len, splits)))
    return found, tuple(lost)


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
    """The same images, those in files not decoded: to count them, or to tell them apart.

    Raises:
        UserError: the images are missing.
    """
    return _find_test(config)[0] if config.is_own else load_published(config, "test")[0]


def load_unknown(config: DataConfig) -> Split | None:
    """Images of no class of the data set; like test images, a search opens them in one place only.

    Returns:
        Test images of the classes that `data.hold_out` holds out, then those of `data.unknown`,
        sized as all others; None where the config asks for neither, and a table has none. Their
        labels mean nothing: -1 each.

    Raises:
        UserError: they are missing or broken.
    """
    unknown = find_unknown(config)
    if unknown is None:
        return None
    is_kept = config.pipeline != "streaming" and has_room_for([unknown])
    return unknown.decoded() if is_kept else unknown


def find_unknown(config: DataConfig) -> Split | None:
    """The same images, those in files not decoded: to tell them apart.

    Raises:
        UserError: they are missing.
    """
    sources, _ = _sources(config)
    return together(sources, config) if sources else None


def check_unknown(config: DataConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Raise unless the images of unknown classes are there and can be read; none is kept.

    Returns:
        A phrase for each place that they come from, and which of their files are broken, where
        `data.broken` is skip.

    Raises:
        UserError: likewise.
    """
    sources, broken = _sources(config)
    if config.broken == "refuse":
        for source in sources:
            source.split.check()
    return tuple(map(str, sources)), broken


def _sources(config: DataConfig) -> tuple[list[Source], tuple[str, ...]]:
    sources, broken = sources_of(config), tuple[str, ...]()
    if config.broken == "skip":
        for i, source in enumerate(sources):
            if isinstance(source.split.images, ImageFiles):
                (whole,), lost = _looked_at([source.split], config, is_kept=False)
                sources[i], broken = replace(source, split=whole), broken + lost
    if empty := [source for source in sources if not len(source.split)]:
        raise UserError(f"data.unknown: all {empty[0].what} are broken; repair some")
    return sources, broken


def check_test(config: DataConfig) -> LeftOut:
    """Raise unless the test images are there and can be read; none is kept.

    A search would otherwise find a broken file only after all training.

    Returns:
        What is left out of all images, broken ones of test alone.

    Raises:
        UserError: an image is missing or broken.
    """
    if not config.is_own:
        return LeftOut()
    test, left_out = _find_test(config)
    if config.broken == "refuse":
        test.check()
    return left_out


def count_test(config: DataConfig) -> int:
    """How many test images there are; nothing else of them is told."""
    return len(find_test(config))


def _find_test(config: DataConfig) -> tuple[Split, LeftOut]:
    listing = list_images(config, (TEST,))
    test, broken = part_of(listing, TEST, config), tuple[str, ...]()
    if config.broken == "skip":
        (test,), broken = _looked_at([test], config, is_kept=False)
    if not len(test):
        raise UserError(f"data.root: {config.root} holds no test image; add some")
    if test.groups is not None and len(np.unique(test.groups)) < 2:
        raise UserError(
            f"data.group_column: the {len(test)} test images are of one group, and nothing says "
            f"how much another would differ; take more (data.test_size), or other splits"
        )
    return test, replace(listing.left_out, broken=broken)


def check_batch_size(batch_size: int, n_train: int, way_out: str = "") -> None:
    """Refuse a batch of more than a quarter of the training images.

    The incomplete last batch of an epoch is dropped; with a large one, most images would be.

    Args:
        batch_size: the largest of all.
        n_train: training images.
        way_out: what else can be done about it.

    Raises:
        UserError: the batch is too large.
    """
    if batch_size > n_train // 4:
        raise UserError(
            f"data.batch_size must be at most a quarter of the {n_train} training images "
            f"({n_train // 4}), since incomplete batches are dropped; got {batch_size}"
            f"{way_out and f'; {way_out}'}"
        )


def _check_every_class_is_there(split: Split, part: str, classes: Sequence[str]) -> None:
    missing = np.flatnonzero(np.bincount(split.labels, minlength=len(classes)) == 0)
    if len(missing):
        raise UserError(
            f"class '{classes[missing[0]]}' has no image in {part}; add some, or, if {part} was "
            f"split off, change data.val_size or data.train_size"
        )
