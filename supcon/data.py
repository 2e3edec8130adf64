"""Data sets -> splits: train and val for everybody, test for those who ask for it by name.

All images of a split lie in one uint8 array, (N, H, W, C); a folder too big for that is read from
its files. The validation images are a stratified, seeded part of the training images. `load_splits`
never touches the test images; the only way to them is `load_test`.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from supcon.config import DataConfig
from supcon.folder import class_names, list_folder
from supcon.image_files import ImageFiles, Images
from supcon.parsing import UserError

RESIDENT_SHARE = 4  # `auto` decodes a folder once if that takes at most 1 / so much of free memory
STATISTICS_IMAGES = 4096  # that tell the channels' statistics of images that stay in files
BLOCK = 256
CIFAR_ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


@dataclass(frozen=True)
class Split:
    """Images and their labels."""

    images: Images
    """(N, H, W, C) uint8."""
    labels: npt.NDArray[np.int64]
    """(N,), an index into the class names."""

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Of the images; computed once, and pickled with them: the trials of a search share it."""
        return channel_statistics(self)

    def take(self, indices: npt.NDArray[np.intp]) -> Split:
        """The images at `indices`."""
        take = self.images.take if isinstance(self.images, ImageFiles) else self.images.__getitem__
        return Split(take(indices), self.labels[indices])

    def decoded(self) -> Split:
        """The same with all images in memory."""
        return Split(self.images[:], self.labels)

    def check(self) -> None:
        """Raise a UserError if an image that was not decoded yet cannot be."""
        if isinstance(self.images, ImageFiles):
            self.images.check()


@dataclass(frozen=True)
class Splits:
    """What a training run may see: train and val, never test."""

    train: Split
    val: Split
    classes: tuple[str, ...]

    def check(self) -> None:
        """Raise a UserError if an image that was not decoded yet cannot be."""
        self.train.check()
        self.val.check()

    def fingerprint(self) -> str:
        """Equal for equal images, labels and class names, in the same order."""
        return fingerprint([self.train, self.val], self.classes)


def fingerprint(
    splits: Sequence[Split], classes: Sequence[str], *, reads_files: bool = False
) -> str:
    """Equal for equal images, labels and class names, in the same order.

    Args:
        splits: the images.
        classes: their names.
        reads_files: images in files are told apart by their bytes, else by names and lengths alone.
    """
    found = hashlib.blake2b("\n".join(classes).encode(), digest_size=16)
    for split in splits:
        found.update(str(split.images.shape).encode())
        if isinstance(split.images, ImageFiles):
            for file in split.images.contents() if reads_files else split.images.identity():
                found.update(file)
        else:
            found.update(np.ascontiguousarray(split.images).data)
        found.update(np.ascontiguousarray(split.labels).data)
    return found.hexdigest()


def load_splits(config: DataConfig) -> Splits:
    """Train and val of the configured data set.

    Raises:
        UserError: the images are missing, broken, or too few for the split.
    """
    if config.name == "folder":
        train, val, classes = _load_folder(config)
    else:
        train, classes = _load_named(config, "train")
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
    """The sealed test images. A search calls this in one place only: `search/sealed.py`."""
    test = find_test(config)
    # Other copies of images may be in memory by now: what does not fit is read from its files.
    fits = math.prod(test.images.shape) <= free_memory() // RESIDENT_SHARE
    return test.decoded() if fits and config.pipeline != "streaming" else test


def find_test(config: DataConfig) -> Split:
    """The same images, those of a folder not decoded: to count them, or to tell them apart."""
    if config.name == "folder":
        return _list_folder(config, "test")
    return _load_named(config, "test")[0]


def channel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels, pixel values in [0, 1]."""
    if isinstance(split.images, ImageFiles) and len(split) > STATISTICS_IMAGES:
        some = np.random.default_rng(0).permutation(len(split))[:STATISTICS_IMAGES]
        split = split.take(np.sort(some))
    counts_CV = np.zeros((split.images.shape[3], 256))
    for start in range(0, len(split), BLOCK):  # bincount makes 8 bytes of each pixel
        block = split.images[start : start + BLOCK]
        for channel, counts in enumerate(counts_CV):
            counts += np.bincount(block[..., channel].ravel(), minlength=256)
    value = np.arange(256) / 255
    mean, std = [], []
    for counts in counts_CV:
        share = counts / counts.sum()
        mean.append(float((share * value).sum()))
        deviation = float(np.sqrt((share * (value - mean[-1]) ** 2).sum()))
        std.append(max(deviation, 1e-2))  # a constant channel stays constant
    return mean, std


def check_test(config: DataConfig) -> None:
    """Whether the test images of a folder are there and can be read; none is kept.

    A search would otherwise find a broken file only after all training.
    """
    if config.name == "folder":
        _list_folder(config, "test").check()


def count_test(config: DataConfig) -> int:
    """How many test images there are; nothing else of them is told."""
    return len(find_test(config))


def check_batch_size(batch_size: int, n_train: int) -> None:
    """The last, incomplete batch of an epoch is dropped; a large batch would drop most images."""
    if batch_size > n_train // 4:
        raise UserError(
            f"data.batch_size must be at most a quarter of the {n_train} training images "
            f"({n_train // 4}), since incomplete batches are dropped; got {batch_size}"
        )


def _load_named(config: DataConfig, part: str) -> tuple[Split, tuple[str, ...]]:
    if config.name == "digits":
        return _load_digits(part, _size(config)), tuple(str(digit) for digit in range(10))
    return _load_cifar(config, part)


def _root(config: DataConfig) -> Path:
    try:
        return config.root.expanduser().absolute()  # workers may have another current folder
    except RuntimeError:  # ~somebody
        raise UserError(f"data.root: no such home directory: {config.root}") from None


def _size(config: DataConfig) -> int:
    return config.image_size or {"digits": 16, "cifar10": 32, "cifar100": 32}[config.name]


def _load_digits(part: str, size: int) -> Split:
    # Imported here, as in _stratified: two seconds that the workers of a search need not spend.
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


def _load_folder(config: DataConfig) -> tuple[Split, Split | None, tuple[str, ...]]:
    classes = class_names(_root(config))
    train = _list_folder(config, "train")
    val = _list_folder(config, "val") if (_root(config) / "val").is_dir() else None
    if _is_resident(config, [train, val] if val is not None else [train]):
        return train.decoded(), val and val.decoded(), classes
    return train, val, classes


def _list_folder(config: DataConfig, part: str) -> Split:
    """train, val or test of a folder, its images not decoded yet."""
    root = _root(config)
    return Split(*list_folder(root / part, class_names(root), _size(config)))


def _is_resident(config: DataConfig, splits: Sequence[Split]) -> bool:
    """Whether images in files are to be decoded once and kept."""
    needed, free = sum(math.prod(split.images.shape) for split in splits), free_memory()
    if config.pipeline == "auto":
        return needed <= free // RESIDENT_SHARE
    if config.pipeline == "resident" and needed > free // 2:
        raise UserError(
            f"data.pipeline: resident keeps all images decoded, which takes "
            f"{needed / 2**30:.1f} GiB, more than half of the free memory "
            f"({free / 2**30:.1f} GiB); free some of it, or choose streaming, or a smaller "
            f"data.image_size"
        )
    return config.pipeline == "resident"


def free_memory() -> int:
    """Bytes of this machine's memory that can be had, those of the page cache included."""
    with suppress(OSError, StopIteration):  # Linux tells
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


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
