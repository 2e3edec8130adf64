"""MixUp and CutMix: views that are part one image and part another, with labels that say so.

MixUp (Zhang et al. 2018, arXiv:1710.09412) lays two views over each other, CutMix (Yun et al. 2019,
arXiv:1905.04899) pastes a box of one into the other. Either is a weight of the view's own pixels: a
constant, or 0 inside the box and 1 around it; its mean is what the view's own label counts.
torchvision's transforms draw one share for a batch; here each view draws its own, and its partner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from supcon.config import AugmentConfig


class Epoch(Protocol):
    """Batches of (N, C, H, W) views of one image each, and their (N,) labels."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


@dataclass(frozen=True)
class Draws:
    """What the N views of each of S steps draw; (S, N) tensors on the device of the batches."""

    partner: Tensor
    """Place in the batch of the view that it is mixed with; all places once, its own too."""
    own: Tensor
    """Share of the view itself, from Beta(alpha, alpha); 1 where it is not mixed."""
    is_cut: Tensor
    """Whether by CutMix."""
    x: Tensor
    """Middle of the box, in [0, 1) across the image."""
    y: Tensor
    """Likewise, down the image."""

    def step(self, number: int) -> Draws:
        """(N,) of one step."""
        return Draws(*(each[number] for each in vars(self).values()))

    def to(self, device: torch.device) -> Draws:
        """The same on `device`."""
        return Draws(*(each.to(device) for each in vars(self).values()))


def draw(config: AugmentConfig, steps: int, views: int, seed: int) -> Draws:
    """What the views of an epoch draw, on the CPU; a function of `seed`.

    Args:
        config: of which `mixup`, `cutmix` and `mix_probability` are looked at; one is on.
        steps: of the epoch.
        views: of a step, each view of an image counted.
        seed: of all random numbers.
    """
    rng, size = np.random.default_rng(seed), (steps, views)
    is_cut = rng.random(size) < (config.cutmix > 0) * (0.5 if config.mixup > 0 else 1)
    alpha = np.where(is_cut, config.cutmix, config.mixup or 1)
    own = np.where(rng.random(size) < config.mix_probability, rng.beta(alpha, alpha), 1)
    partner = rng.permuted(np.tile(np.arange(views), (steps, 1)), axis=1)
    x, y = rng.random((2, *size))
    numbers = (own.astype("f4"), is_cut, x.astype("f4"), y.astype("f4"))
    return Draws(*map(torch.from_numpy, (partner, *numbers)))


def mixed(images: Tensor, labels: Tensor, draws: Draws, classes: int) -> tuple[Tensor, Tensor]:
    """A batch of views, each mixed with another one.

    Args:
        images: (N, C, H, W), uint8 or fp32.
        labels: (N,) class ids.
        draws: of this step, on the images' device.
        classes: K.

    Returns:
        (N, C, H, W) fp32, in the same range, not rounded, and (N, K) soft labels that sum to 1.
    """
    images, weight = images.float(), own_pixels(draws, *images.shape[2:])
    own = weight.mean((2, 3))
    soft = torch.zeros(len(labels), classes, device=labels.device)
    both = torch.stack([labels, labels[draws.partner]], 1)
    soft.scatter_add_(1, both, torch.cat([own, 1 - own], 1))
    return torch.lerp(images[draws.partner], images, weight), soft


def own_pixels(draws: Draws, height: int, width: int) -> Tensor:
    """(N, 1, H, W) weight of a view's own pixels, in [0, 1].

    The box of CutMix is that of the paper's section 3.1: sides in proportion sqrt(1 - own) to the
    image's, its middle anywhere, what lies outside of the image cut off.
    """
    half = 0.5 * (1 - draws.own).sqrt()[:, None]
    inside = []
    for middle, size in ((draws.y, height), (draws.x, width)):
        centre, reach = (middle[:, None] * size).floor(), (half * size).floor()
        at = torch.arange(size, device=middle.device)
        inside.append((at >= centre - reach) & (at < centre + reach))
    rows, columns = inside
    box = rows[:, None, :, None] & columns[:, None, None, :]
    own = draws.own[:, None, None, None]
    return torch.where(draws.is_cut[:, None, None, None], (~box).float(), own)


class MixedViews:
    """The batches of one epoch, their views mixed with each other."""

    def __init__(self, batches: Epoch, draws: Draws, classes: int) -> None:
        """`draws` are for as many steps as there are batches, on their device."""
        self.batches, self.draws, self.classes = batches, draws, classes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(N, C, H, W) fp32 views in channels_last, and their (N, K) soft labels."""
        for number, (images, labels) in enumerate(self.batches):
            views, soft = mixed(images, labels, self.draws.step(number), self.classes)
            yield views.contiguous(memory_format=torch.channels_last), soft
