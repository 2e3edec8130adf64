"""Where images come from: scikit-learn's digits, CIFAR, a folder; each part as it is published.

Digits and CIFAR are read into memory, and resized if the config asks for another size; how the
images of a folder are found and decoded is in `supcon.images.folder` and `supcon.images.files`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from supcon.config import DataConfig
from supcon.images.decoding import Reading
from supcon.images.folder import class_names, list_folder
from supcon.images.memory import is_resident
from supcon.images.split import Split
from supcon.parsing import UserError

CIFAR_ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def load_published(config: DataConfig, part: str) -> tuple[Split, tuple[str, ...]]:
    """Digits or CIFAR, and the names of the classes.

    Args:
        config: `name`, `root` and `image_size` count.
        part: train, from which val is not taken yet, or test.

    Raises:
        UserError: CIFAR is not there and cannot be downloaded.
    """
    if config.name == "digits":
        return _load_digits(part, _size(config)), tuple(str(digit) for digit in range(10))
    return _load_cifar(config, part)


def load_folder(config: DataConfig) -> tuple[Split, Split | None, tuple[str, ...]]:
    """Train, val if the folder has one, and the names of the classes.

    Returns:
        Images decoded in memory if there is room or the config asks for it, else in their files.

    Raises:
        UserError: images are missing, broken, or too many for the memory.
    """
    classes = class_names(_root(config))
    train = part_of_folder(config, "train")
    val = part_of_folder(config, "val") if (_root(config) / "val").is_dir() else None
    if is_resident(config, [train, val] if val is not None else [train]):
        return train.decoded(), val and val.decoded(), classes
    return train, val, classes


def part_of_folder(config: DataConfig, part: str) -> Split:
    """train, val or test of a folder, its images not decoded yet.

    Raises:
        UserError: the part is missing or empty, or holds a class that train does not.
    """
    root, reading = _root(config), Reading(_size(config), config.fit, config.background)
    return Split(*list_folder(root / part, class_names(root), reading))


def _root(config: DataConfig) -> Path:
    try:
        return config.root.expanduser().absolute()  # workers may have another current folder
    except RuntimeError:  # ~somebody
        raise UserError(f"data.root: no such home directory: {config.root}") from None


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

    root = _root(config)
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
