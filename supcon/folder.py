"""Image folders: train/<class>/*, test/<class>/* and optionally val/<class>/*, of any image size.

Every image is decoded to 8-bit RGB and fit into a square. Hidden files and folders are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

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


def check_memory(root: Path, size: int) -> None:
    """Whether the decoded images of train/ and val/ fit into half of the free memory."""
    needed = sum(len(_image_files(root / part)) for part in ("train", "val")) * size * size * 3
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if needed > free // 2:
        raise UserError(
            f"data.image_size: the images take {needed / 2**30:.1f} GiB at {size} pixels, more "
            f"than half of the free memory ({free / 2**30:.1f} GiB); choose a smaller image_size"
        )


def read_folder(
    folder: Path, classes: Sequence[str], size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All images under folder/<class>/.

    Args:
        folder: train/, val/ or test/.
        classes: names of the class folders; their order gives the labels.
        size: side of the square that each image is fit into, in pixels.

    Returns:
        (N, size, size, 3) images and (N,) labels.

    Raises:
        UserError: the folder is missing or empty, holds another class, or a broken image.
    """
    files, labels = _list_images(folder, classes)
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        images = list(pool.map(lambda path: _read_image(path, size), files))
    return np.stack(images), np.array(labels, dtype=np.int64)


def check_folder(folder: Path, classes: Sequence[str]) -> None:
    """Raise what `read_folder` would raise, but keep no image."""
    files, _ = _list_images(folder, classes)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda path: _read_image(path, 8), files):
            pass


def _check_is_there(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"data.root: {folder} is missing; a folder data set has train/<class>/*.jpg and "
            f"test/<class>/*.jpg (and optionally val/) under data.root"
        )


def _list_images(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
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
    return files, labels


def _image_files(folder: Path) -> list[Path]:
    """Images under a folder; hidden files are other programs' copies of them (`._cat.jpg`)."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _read_image(path: Path, size: int) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            upright = _eight_bit(ImageOps.exif_transpose(image)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(path), "").replace(" ''", "")
        raise UserError(f"{path}: not a readable image ({reason}); repair or remove it") from None
    # Resize the shorter side, crop the centre: the aspect ratio stays.
    return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; `convert` would clip it at 255, almost all white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image
