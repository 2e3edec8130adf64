"""Images with their labels, what tells one set of them from another, and their statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from supcon.images.files import ImageFiles, Images
from supcon.listing.broken import refuse_broken
from supcon.listing.listing import NOTHING, LeftOut

STATISTICS_IMAGES = 4096  # that tell the channels' statistics of images that stay in files
BLOCK = 256  # images whose pixels are counted together: bincount makes 8 bytes of each pixel


@dataclass(frozen=True)
class Split:
    """Images and their labels."""

    images: Images
    """(N, H, W, C) uint8."""
    labels: npt.NDArray[np.int64]
    """(N,), an index into the class names."""
    groups: npt.NDArray[np.int64] | None = None
    """(N,) group ids, where images come in groups: of a patient, say."""

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Computed once, and pickled with the images: the trials of a search share it."""
        return channel_statistics(self)

    def take(self, indices: npt.NDArray[np.intp]) -> Split:
        """The images at `indices`."""
        take = self.images.take if isinstance(self.images, ImageFiles) else self.images.__getitem__
        groups = None if self.groups is None else self.groups[indices]
        return Split(take(indices), self.labels[indices], groups)

    def decoded(self) -> Split:
        """The same with all images in memory."""
        return replace(self, images=self.images[:])

    def check(self) -> None:
        """Raise a UserError if images that were not decoded yet cannot be, naming them."""
        _check([self])


@dataclass(frozen=True)
class Splits:
    """What a training run may see: train and val, never test."""

    train: Split
    val: Split
    classes: tuple[str, ...]
    """Names, by label."""
    left_out: LeftOut = NOTHING
    """What lies among the images and is not used."""
    unknown: tuple[str, ...] = ()
    """A phrase for each place from which images of unknown classes come; filled in by those who
    look for them."""

    def check(self) -> None:
        """Raise a UserError if images that were not decoded yet cannot be, naming them."""
        _check([self.train, self.val])

    @property
    def val_counts(self) -> tuple[int, ...]:
        """Images of val by class."""
        return tuple(np.bincount(self.val.labels, minlength=len(self.classes)).tolist())

    def fingerprint(self) -> str:
        """Equal for equal images, labels and class names, in the same order."""
        return fingerprint([self.train, self.val], self.classes)


def _check(splits: Sequence[Split]) -> None:
    files = [split.images for split in splits if isinstance(split.images, ImageFiles)]
    problems = [problem for each in files for problem in each.broken().values()]
    refuse_broken(problems, sum(map(len, files)))


def fingerprint(
    splits: Sequence[Split], classes: Sequence[str], *, reads_files: bool = False
) -> str:
    """Equal for equal images, labels and class names, in the same order.

    Args:
        splits: the images.
        classes: their names.
        reads_files: images in files are told apart by their bytes, else by names and lengths alone.

    Raises:
        UserError: a file cannot be read; with `reads_files` only.
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


def channel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels.

    Returns:
        C means and C deviations, in units of pixel value / 255. A deviation is at least 0.01. Of
        more than `STATISTICS_IMAGES` images in files so many are looked at, always the same.

    Raises:
        UserError: a file cannot be read, or is no image.
    """
    if isinstance(split.images, ImageFiles) and len(split) > STATISTICS_IMAGES:
        some = np.random.default_rng(0).permutation(len(split))[:STATISTICS_IMAGES]
        split = split.take(np.sort(some))
    counts_CV = np.zeros((split.images.shape[3], 256))
    for start in range(0, len(split), BLOCK):
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
