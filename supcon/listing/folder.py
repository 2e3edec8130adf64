"""Image folders: train/<class>/*, test/<class>/* and perhaps val/<class>/*, or <class>/* alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supcon.listing.listing import LOOSE, NO_IMAGE, Listing
from supcon.listing.names import (
    NONE,
    PART_NAMES,
    TEST,
    TRAIN,
    VAL,
    check_class_names,
    class_of,
    image_suffixes,
    suffix_of,
)
from supcon.listing.walk import Walk
from supcon.parsing import UserError


@dataclass(frozen=True)
class _ClassFolder:
    part: str
    path: Path
    label: int


def list_folder(root: Path, *, with_test: bool = True) -> Listing:
    """All images of a folder, by part if it has parts, in order of class and name.

    Args:
        root: holds a folder for each part, or for each class.
        with_test: look into test/, too, if there is one.

    Returns:
        The images; of no part, if the folder has none.

    Raises:
        UserError: the folder is missing, holds no images or fewer than 2 classes, or names of
            parts or classes that could mean two things.
    """
    walk = Walk(root)
    top = walk.entries(root)
    places = {part: f for part, f in _parts(walk, top).items() if with_test or part != TEST}
    folders = _class_folders(walk, places, top)
    classes = tuple(each.path.name for each in folders if each.part in (TRAIN, NONE))
    found = walk.images([each.path for each in folders])
    for part, place in places.items():
        if not any(names for each, names in zip(folders, found, strict=True) if each.part == part):
            raise UserError(f"{place}: holds no images (.jpg, .png, and all that Pillow decodes)")
    names: list[bytes] = []
    for each, files in zip(folders, found, strict=True):
        under = os.path.relpath(each.path, root)
        names += [os.fsencode(f"{under}/{file}") for file in files]
    counts = [len(files) for files in found]
    return Listing(
        root,
        np.array(names, dtype=np.bytes_),
        np.repeat(np.array([each.label for each in folders], dtype=np.int64), counts),
        classes,
        np.repeat(np.array([each.part for each in folders]), counts),
        left_out=walk.left_out,
        folders={part: place.name for part, place in places.items() if part != NONE},
    )


def _parts(walk: Walk, top: list[os.DirEntry[str]]) -> dict[str, Path]:
    """The folder of each part, out of what lies in the root; of none, the root itself."""
    folders = [entry for entry in top if entry.is_dir()]
    found: dict[str, list[str]] = {}
    for entry in folders:
        if part := PART_NAMES.get(entry.name.lower()):
            found.setdefault(part, []).append(entry.name)
    has_train = TRAIN in found and (len(found) > 1 or "train" in map(str.lower, found[TRAIN]))
    alone = [name for part, names in found.items() if part != TRAIN for name in names]
    if not has_train and alone:
        raise UserError(
            f"data.root: {walk.root / 'train'} is missing, but {', '.join(alone)} is there; add "
            f"it, or, if that is a class and not a part, rename it"
        )
    if not has_train:
        return {NONE: walk.root}
    for part, names in found.items():
        if len(names) > 1:
            raise UserError(
                f"{walk.root}: {' and '.join(names)} could each be {part}; keep one of them"
            )
    walk.passed_over += [e.name for e in folders if e.name.lower() not in PART_NAMES]
    _count_loose(walk, top)
    for part in (TRAIN, TEST):
        found.setdefault(part, [part])
    return {part: walk.root / found[part][0] for part in (TRAIN, VAL, TEST) if part in found}


def _class_folders(
    walk: Walk, places: dict[str, Path], top: list[os.DirEntry[str]]
) -> list[_ClassFolder]:
    """The folders of all classes, part by part in order of their labels."""
    found: list[_ClassFolder] = []
    classes: list[str] = []
    for part, place in places.items():
        entries = top if part == NONE else walk.entries(place)
        _count_loose(walk, entries)
        names = [entry.name for entry in entries if entry.is_dir()]
        check_class_names(place, names)
        if part in (TRAIN, NONE):
            classes = names
            _check_enough(place, names)
        each = [_ClassFolder(part, place / n, class_of(n, classes, place / n)) for n in names]
        found += sorted(each, key=lambda folder: folder.label)
    return found


def _count_loose(walk: Walk, entries: list[os.DirEntry[str]]) -> None:
    """Count files that are in no folder of a class."""
    for suffix in (suffix_of(entry.name) for entry in entries if not entry.is_dir()):
        walk.counts[LOOSE if suffix in image_suffixes() else NO_IMAGE, suffix] += 1


def _check_enough(place: Path, classes: list[str]) -> None:
    if len(classes) < 2:
        raise UserError(f"{place}: at least 2 class folders are needed, got {len(classes)}")
