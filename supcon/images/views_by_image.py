"""The augmentation policy image by image on the CPU, by albumentations.

For images that are streamed, from files or memory, by worker processes or none, and for the views
that a probe is trained on. Views stay uint8; random numbers of a view are a function of its seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from supcon.images.decoding import Pixels
from supcon.images.files import BLOCK, Images
from supcon.images.policy import BLUR_SIGMA, Policy
from supcon.images.split import Split
from supcon.seeds import derive_seed

if TYPE_CHECKING:
    import albumentations as A

PREFETCH = 2  # batches that each worker makes ahead

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no version check over the network


def compose(policy: Policy, size: int) -> A.Compose:
    """The policy as an albumentations pipeline for (H, W, C) uint8 images, without steps at 0.

    Args:
        policy: what happens to a view.
        size: side of the views in pixels.
    """
    # Imported here: a second that a search, which leaves views to its workers, need not wait for.
    import albumentations as A

    steps = [
        A.RandomResizedCrop((size, size), (policy.crop, 1), (1 / policy.aspect, policy.aspect))
    ]
    if policy.flip:
        steps.append(A.HorizontalFlip(p=policy.flip))
    if policy.rotation:
        steps.append(A.Rotate(policy.rotation, p=1))
    if policy.jitter:
        j = policy.jitter
        steps.append(
            A.ColorJitter(
                (1 - j, 1 + j),
                (1 - j, 1 + j),
                (1 - j, 1 + j),
                (-j / 4, j / 4),
                p=policy.jitter_probability,
            )
        )
    if policy.operations:
        from supcon.images.operations.by_image import RandomOperation  # by albumentations, too

        steps += [RandomOperation(policy.operations, size) for _ in range(policy.operations.slots)]
    if policy.grey:
        steps.append(A.ToGray(p=policy.grey))
    if policy.blur:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=BLUR_SIGMA, p=policy.blur))
    if policy.cutout:
        side = (policy.cutout, policy.cutout)
        steps.append(A.CoarseDropout((1, 1), side, side, fill=0, p=1))
    return A.Compose(steps)


def seed_steps(pipeline: A.Compose, seed: int) -> None:
    """Give each step a random stream of its own.

    `Compose.set_random_seed` gives all steps the same one: every grey view was then a mirrored one.
    """
    for i, step in enumerate(pipeline.transforms):
        step.set_random_seed(derive_seed(seed, "step", i))


def one_view(images: Images, policy: Policy, seed: int) -> Iterator[Pixels]:
    """An augmented view of each image, in the same order.

    Args:
        images: (N, H, W, C) uint8.
        policy: what happens to a view.
        seed: of all random numbers.

    Yields:
        (n, H, W, C) uint8 blocks of views, n at most `BLOCK`.
    """
    pipeline = compose(policy, images.shape[1])
    seed_steps(pipeline, seed)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        yield np.stack([pipeline(image=image)["image"] for image in block])


Batch = tuple[int, npt.NDArray[np.intp]]
"""The seed of its views, and the places of its images."""


class ViewBatches(Dataset[tuple[Tensor, Tensor]]):
    """Augmented batches of a split. One is a function of its seed, whoever makes it, and when."""

    def __init__(self, split: Split, policy: Policy, views: int) -> None:
        """Each image in so many `views`, drawn by `policy`."""
        self.split, self.views = split, views
        self.pipeline = compose(policy, split.images.shape[1])

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(V * B, C, H, W) uint8 views, view after view, and their (V * B,) labels."""
        seed, chosen = batch
        seed_steps(self.pipeline, seed)
        images = self.split.images[chosen]
        views = np.stack(
            [self.pipeline(image=x)["image"] for _ in range(self.views) for x in images]
        )
        labels = torch.from_numpy(self.split.labels[chosen])
        return torch.from_numpy(views).permute(0, 3, 1, 2), labels.repeat(self.views)


class StreamedViews:
    """The batches of one epoch after the other, from worker processes that stay between them."""

    def __init__(self, batches: ViewBatches, workers: int, *, pin_memory: bool = False) -> None:
        """`workers` processes make views, or this one if 0; pinned ones can go to a GPU at once."""
        self.wanted: list[Batch] = []  # the loader reads it anew whenever it is iterated over
        self.loader = DataLoader(
            batches,
            batch_size=None,
            sampler=self.wanted,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
        )

    def epoch(self, order_SB: npt.NDArray[np.intp], seed: int) -> DataLoader[tuple[Tensor, Tensor]]:
        """The batches of S steps, of B images each; it ends what is left of an epoch before."""
        seeds = (derive_seed(seed, "batch", i) for i in range(len(order_SB)))
        self.wanted[:] = zip(seeds, order_SB, strict=True)
        return self.loader
