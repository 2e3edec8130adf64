"""Names that people and programs give: of parts, of classes, and of what is no image of theirs."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import Image

from supcon.parsing import UserError, nearest
from supcon.plain_yaml import is_fit

TRAIN, VAL, TEST, UNKNOWN, NONE = "train", "val", "test", "unknown", ""
"""The parts; an image of none is not used, or has none yet. One of `unknown` is sealed like those
of test, and of none of the classes."""

PART = "U7"
"""Type of an array of parts, as long as the longest name."""

PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "dev": VAL,
    "test": TEST,
    "testing": TEST,
}
"""What a part may be called, in any case."""

FOREIGN = {
    "__macosx",
    "@eadir",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbnails",
    "thumbs",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__pycache__",
}
"""What archives, disks, file servers and viewers leave among images; in lower case."""

NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow knows by name, but reads with another program's help or not at all."""


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the files that Pillow can decode, such as `.jpg`, in lower case."""
    known = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, format_name in known.items()
        if format_name in Image.OPEN and format_name not in NOT_DECODED
    )


def suffix_of(name: str) -> str:
    """The suffix of a file, in lower case."""
    return os.path.splitext(name)[1].lower()


def is_foreign(name: str) -> bool:
    """Whether a file or folder is a program's own: hidden, or known by its name."""
    return name.startswith(".") or name.lower() in FOREIGN


def check_class_names(where: object, names: Sequence[str]) -> None:
    """Refuse names that cannot be shown, and two that look the same.

    Two that differ in upper and lower case alone may be two classes, as letters are.

    Args:
        where: what holds the names; opens the message.
        names: of classes.

    Raises:
        UserError: naming the first that will not do.
    """
    known: dict[str, str] = {}
    for name in names:
        if not is_fit(name):
            raise UserError(
                f"{where}: class {name!a} must be text in UTF-8 without control characters, to be "
                f"shown and logged; rename it"
            )
        other = known.setdefault(_look(name), name)
        if other != name:
            raise UserError(
                f"{where}: classes {other!a} and {name!a} look the same; merge them, or rename one"
            )


def class_of(name: str, classes: Sequence[str], where: object) -> int:
    """The label of a class, found by its name in any form of Unicode.

    macOS stores é as two characters, others as one.

    Args:
        name: as it is called in val or test.
        classes: as they are called in train.
        where: what holds the name; opens the message.

    Raises:
        UserError: there is no such class in train, or one that only looks like it.
    """
    if name in classes:
        return classes.index(name)
    check_class_names(where, [name])
    for label, other in enumerate(classes):
        if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name):
            return label
        if _look(other).casefold() == _look(name).casefold():
            raise UserError(f"{where}: class {name!a} is {other!a} in train; rename one of them")
    raise UserError(f"{where}: class '{name}' is not in train/{nearest(name, classes)}")


def _look(name: str) -> str:
    """The same for names that a person cannot tell apart: one form, no blanks that are not seen."""
    shown = (c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) != "Cf")
    return " ".join("".join(shown).split())
