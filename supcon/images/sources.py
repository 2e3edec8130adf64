"""Where images come from: scikit-learn's digits, CIFAR, or files of one's own.

Digits and CIFAR are read into memory, and resized if the config asks for another size; how files
are found and parted is in `supcon.listing`, how they are decoded in `supcon.images.files`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from supcon.config import DataConfig
from supcon.images.decoding import Reading
from supcon.images.files import ImageFiles
from supcon.images.split import Split
from supcon.listing.folder import list_folder
from supcon.listing.groups import check_groups
from supcon.listing.held_out import drawn, hold_out
from supcon.listing.listing import Listing
from supcon.listing.names import NONE, TEST, TRAIN, UNKNOWN, VAL
from supcon.listing.partition import assign, with_test
from supcon.listing.saved import list_saved
from supcon.listing.table import list_table
from supcon.parsing import UserError

CIFAR_ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def load_published(config: DataConfig, part: str) -> tuple[Split, tuple[str, ...]]:
    """Digits or CIFAR, and the names of their classes.

    Args:
        config: `name`, `root`, `image_size` and `hold_out` count.
        part: train, from which val is not taken yet, or test, both without the classes that are
            held out; or unknown: the test images of these.

    Raises:
        UserError: CIFAR is not there and cannot be downloaded, or too few classes would stay.
    """
    whole, classes = _published(config, TRAIN if part == TRAIN else TEST)
    kept, held = drawn(classes, config)
    if part != UNKNOWN and not held:
        return whole, classes
    wanted = held if part == UNKNOWN else kept
    some = whole.take(np.flatnonzero(np.isin(whole.labels, wanted)))
    names = tuple(classes[label] for label in wanted)
    return replace(some, labels=np.searchsorted(wanted, some.labels)), names


def _published(config: DataConfig, part: str) -> tuple[Split, tuple[str, ...]]:
    """The same with all classes."""
    if config.name == "digits":
        return _load_digits(part, _size(config)), tuple(str(digit) for digit in range(10))
    return _load_cifar(config, part)


def list_images(
    config: DataConfig, parts: Collection[str] = (TRAIN, VAL, TEST), broken: Collection[str] = ()
) -> Listing:
    """Images of one's own, each in its part; none is decoded.

    Args:
        config: where they are, and how they are split.
        parts: those that count; what is wrong with another may not be found.
        broken: paths of files that are in no part.

    Raises:
        UserError: images are missing, or too few for the split, or their names or groups clash.
    """
    found = find_images(config, with_test=TEST in parts)
    if found.groups is not None:
        check_groups(found.parts, found.groups, found.group_names)
    # Of all classes, those held out among them: the others have the same test images without it.
    tested = with_test(found.parts, found.labels, found.classes, config, found.groups)
    found = hold_out(replace(found, parts=tested), config)
    if TRAIN not in parts:
        return found
    is_lost = found.is_at(broken)
    assigned = assign(found.parts, found.labels, found.classes, config, found.groups, is_lost)
    assigned[is_lost] = NONE
    return replace(found, parts=assigned)


def find_images(config: DataConfig, *, with_test: bool = True) -> Listing:
    """Images of one's own as they were found: in the parts that are given, or in none.

    Args:
        config: where they are.
        with_test: look for those of a given test part, too.

    Raises:
        UserError: images are missing, or their names clash.
    """
    root = absolute(config.root, "data.root")
    match config.name:
        case "table":
            return list_table(root, config)
        case "huggingface":
            return list_saved(root, config)
        case _:
            return list_folder(root, with_test=with_test)


def part_of(listing: Listing, part: str, config: DataConfig) -> Split:
    """A part of images in files, not decoded yet."""
    chosen = np.flatnonzero(listing.parts == part)
    names, folder = listing.names[chosen], listing.folders.get(part, "")
    if folder:  # a part is what its own folder holds, wherever that is
        start = len(os.fsencode(folder)) + 1
        names = np.array([name[start:] for name in names.tolist()], dtype=np.bytes_)
    files = ImageFiles(listing.root / folder, names, reading_of(config), listing.reader)
    groups = None if listing.groups is None else listing.groups[chosen]
    return Split(files, listing.labels[chosen], groups)


def absolute(path: Path, key: str) -> Path:
    """A path that was given as the setting `key`; workers may have another current folder.

    Raises:
        UserError: it begins with the home directory of nobody.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError:  # ~somebody
        raise UserError(f"{key}: no such home directory: {path}") from None


def reading_of(config: DataConfig) -> Reading:
    """How files become pictures."""
    return Reading(_size(config), config.fit, config.background)


def _size(config: DataConfig) -> int:
    return config.image_size or {"digits": 16, "cifar10": 32, "cifar100": 32}[config.name]


def _load_digits(part: str, size: int) -> Split:
    # Imported here, as in `loading`: two seconds that the workers of a search need not spend.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    # The test images are the same for every seed and every study.
    train, test = train_test_split(
        np.arange(len(bunch.target)), test_size=0.2, stratify=bunch.target, random_state=0
    )
    chosen = train if part == "train" else test
    grey = (bunch.images[chosen] * (255 / 16)).round().astype(np.uint8)[..., None]
    return Split(_resize(grey, size), bunch.target[chosen].astype(np.int64))


def _load_cifar(config: DataConfig, part: str) -> tuple[Split, tuple[str, ...]]:
    # Imported here: torchvision costs a second that digits and folders need not pay.
    from torchvision.datasets import CIFAR10, CIFAR100

    root = absolute(config.root, "data.root")
    dataset = CIFAR10 if config.name == "cifar10" else CIFAR100
    try:
        loaded = dataset(root, train=part == "train", download=True)
    except (OSError, RuntimeError) as error:
        archive = CIFAR_ARCHIVES[config.name]
        raise UserError(
            f"data.root: {config.name} is not under {root} and could not be downloaded "
            f"({str(error).strip('<>')}); put {archive} from "
            f"https://www.cs.toronto.edu/~kriz/cifar.html into {root}, or set data.root"
        ) from None
    split = Split(_resize(loaded.data, _size(config)), np.array(loaded.targets, dtype=np.int64))
    return split, tuple(loaded.classes)


def _resize(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    if images.shape[1:3] == (size, size):
        return images
    channels = images.shape[3]
    pictures = (Image.fromarray(image[..., 0] if channels == 1 else image) for image in images)
    resized = [np.asarray(p.resize((size, size), Image.Resampling.BICUBIC)) for p in pictures]
    return np.stack(resized).reshape(len(images), size, size, channels)
