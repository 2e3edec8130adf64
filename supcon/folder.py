"""Image folders: train/<class>/*, test/<class>/* and optionally val/<class>/*, of any image size.

Which files count, and what is refused. Hidden files and folders are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.image_files import ImageFiles
from supcon.parsing import UserError, nearest

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
    _check_is_there(root / "train")
    folders = (path for path in (root / "train").iterdir() if path.is_dir())
    classes = tuple(sorted(path.name for path in folders if not path.name.startswith(".")))
    if len(classes) < 2:
        raise UserError(
            f"{root / 'train'}: at least 2 class folders are needed, got {len(classes)}"
        )
    return classes


def decoded_bytes(root: Path, size: int) -> int:
    """Memory that the decoded images of train/ and val/ take."""
    return sum(len(_image_files(root / part)) for part in ("train", "val")) * size * size * 3


def free_memory() -> int:
    """Bytes of this machine's memory that can be had, those of the page cache included."""
    with suppress(OSError, StopIteration):  # Linux tells
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def check_memory(root: Path, size: int) -> None:
    """Whether the decoded images of train/ and val/ fit into half of the free memory."""
    needed, free = decoded_bytes(root, size), free_memory()
    if needed > free // 2:
        raise UserError(
            f"data.pipeline: resident keeps all images decoded, which takes "
            f"{needed / 2**30:.1f} GiB at {size} pixels, more than half of the free memory "
            f"({free / 2**30:.1f} GiB); choose streaming, or a smaller data.image_size"
        )


def list_folder(
    folder: Path, classes: Sequence[str], size: int
) -> tuple[ImageFiles, npt.NDArray[np.int64]]:
    """All images under folder/<class>/, not decoded yet.

    Args:
        folder: train/, val/ or test/.
        classes: names of the class folders; their order gives the labels.
        size: side of the square that each image is fit into, in pixels.

    Returns:
        (N, size, size, 3) images and (N,) labels.

    Raises:
        UserError: the folder is missing or empty, or holds another class.
    """
    _check_is_there(folder)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in classes and not path.name.startswith("."):
            raise UserError(
                f"{path}: class '{path.name}' is not in train/{nearest(path.name, classes)}"
            )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _image_files(folder / name)
        files += found
        labels += [label] * len(found)
    if not files:
        raise UserError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return ImageFiles.of(folder, files, size), np.array(labels, dtype=np.int64)


def _check_is_there(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"data.root: {folder} is missing; a folder data set has train/<class>/*.jpg and "
            f"test/<class>/*.jpg (and optionally val/) under data.root"
        )


def _image_files(folder: Path) -> list[Path]:
    """Images under a folder; hidden files are other programs' copies of them (`._cat.jpg`)."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
