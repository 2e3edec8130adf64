"""Image folders: train/<class>/*, test/<class>/* and optionally val/<class>/*, of any image size.

Which files count, and what is refused. Hidden files and folders are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.images.decoding import Reading
from supcon.images.files import ImageFiles
from supcon.parsing import UserError, nearest
from supcon.plain_yaml import is_fit

IMAGE_SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".jfif",
    ".png",
    ".bmp",
    ".webp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
}


def class_names(root: Path) -> tuple[str, ...]:
    """The folders in train/, sorted.

    Raises:
        UserError: there is no train/, or it holds fewer than 2 classes.
    """
    folders = [path for path in _entries(root / "train") if path.is_dir()]
    classes = tuple(sorted(path.name for path in folders if not path.name.startswith(".")))
    _check_names(root / "train", classes)
    if len(classes) < 2:
        raise UserError(
            f"{root / 'train'}: at least 2 class folders are needed, got {len(classes)}"
        )
    return classes


def list_folder(
    folder: Path, classes: Sequence[str], reading: Reading
) -> tuple[ImageFiles, npt.NDArray[np.int64]]:
    """All images under folder/<class>/, not decoded yet.

    Args:
        folder: train/, val/ or test/.
        classes: names of the class folders; their order gives the labels.
        reading: how each file becomes a picture.

    Returns:
        (N, size, size, 3) images and (N,) labels.

    Raises:
        UserError: the folder is missing or empty, or holds another class.
    """
    for path in _entries(folder):
        if path.is_dir() and path.name not in classes and not path.name.startswith("."):
            _check_names(folder, [path.name])
            raise UserError(
                f"{path}: class '{path.name}' is not in train/{nearest(path.name, classes)}"
            )
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = [f"{name}/{file}" for file in _image_files(folder / name)]
        names += found
        labels += [label] * len(found)
    if not names:
        raise UserError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    encoded = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
    return ImageFiles(folder, encoded, reading), np.array(labels, dtype=np.int64)


def _check_names(folder: Path, classes: Sequence[str]) -> None:
    for name in classes:
        if not is_fit(name):
            raise UserError(
                f"{folder}: class {name!a} must be text in UTF-8 without control characters, to be "
                f"shown and logged; rename its folder"
            )


def _entries(folder: Path) -> list[Path]:
    """What lies in train/, val/ or test/."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"data.root: {folder} is missing; a folder data set has train/<class>/*.jpg and "
            f"test/<class>/*.jpg (and optionally val/) under data.root"
        ) from None
    except OSError as error:  # no permission; a name that is too long
        raise UserError(f"data.root: {folder} cannot be read ({error.strerror})") from None


def _image_files(folder: Path) -> list[str]:
    """Images under a folder, relative to it and in order; hidden files are other programs' copies
    of them (`._cat.jpg`).
    """
    found = []
    for place, inner, files in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        under = [] if place == str(folder) else os.path.relpath(place, folder).split(os.sep)
        found += [
            [*under, name]
            for name in files
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
        ]
    return ["/".join(parts) for parts in sorted(found)]
