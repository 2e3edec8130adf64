"""The augmentation policy on a whole batch, on its device, with parameters drawn for each image.

For images that lie decoded in memory. The same policy image by image is in
`supcon.images.views_by_image`; tests hold that both agree in distribution. torchvision's transforms
would draw one set of parameters for the whole batch; kornia draws them for each image, but took 2.7
to 3.0 times as long (400 images of 32 pixels, one CPU thread, strengths 0.5 and 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import IterableDataset

from supcon.images.policy import BLUR_SIGMA, Policy

CROP_ATTEMPTS = 10  # windows drawn for an image, of which the first that fits is taken
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class ResidentViews(IterableDataset[tuple[Tensor, Tensor]]):
    """The batches of one epoch, from images in memory.

    Order and augmentation of an epoch are a function of `seed` alone. Images that found no room on
    the training device stay on the CPU and go there batch by batch, as uint8.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        policy: Policy,
        *,
        batch_size: int,
        views: int,
        seed: int,
        order: npt.NDArray[np.intp] | None = None,
    ) -> None:
        """`batch_size` images a batch, each in so many `views`, drawn by `policy`.

        `images` are (N, C, H, W) uint8; `labels` are (N,), on the device of the batches; `order`
        are (N,) indices of images, None: each once, in a random order.
        """
        self.images, self.labels, self.policy = images, labels, policy
        self.batch_size, self.views, self.seed = batch_size, views, seed
        self.order = order

    def __len__(self) -> int:
        """The incomplete last batch is dropped."""
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (V * B, C, H, W) fp32 views, view after view, and their (V * B,) labels."""
        device = self.labels.device
        generator = torch.Generator(device).manual_seed(self.seed)
        if self.order is None:
            order = torch.randperm(len(self.images), generator=generator, device=device)
        else:
            order = torch.from_numpy(self.order).to(device)
        for i in range(len(self)):
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size].repeat(self.views)
            images = self.images[chosen.to(self.images.device)].to(device)
            views = augment(images, self.policy, generator)
            yield views.contiguous(memory_format=torch.channels_last), self.labels[chosen]


def augment(images: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """One view of each image.

    Args:
        images: (N, C, H, W) uint8; C is 1 or 3.
        policy: what happens to a view.
        generator: on the images' device; all randomness comes from it.

    Returns:
        (N, C, H, W) fp32 in [0, 255], not rounded.
    """
    x = images.float()
    if policy.crop < 1 or policy.aspect > 1 or policy.flip or policy.rotation:
        x = _warp(x, policy, generator)
    if x.shape[1] == 3 and policy.jitter:
        x = _jitter(x, policy, generator)
    if x.shape[1] == 3 and policy.grey:
        is_grey = _uniform(x, generator) < policy.grey
        x = torch.where(is_grey[:, None, None, None], _luma(x), x)
    if policy.blur:
        x = _blur(x, policy, generator)
    if policy.cutout:
        x = _cut_out(x, policy, generator)
    return x


def _uniform(x: Tensor, generator: torch.Generator, *shape: int) -> Tensor:
    """(N, *shape) draws from [0, 1)."""
    return torch.rand(len(x), *shape, generator=generator, device=x.device)


def _warp(x: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """Crop, resize to full size, mirror, rotate: one bilinear sampling of the original pixels.

    Coordinates are those of `grid_sample`: -1 to 1 across an image.
    """
    width, height = _window(x, policy, generator)
    place = _uniform(x, generator, 2) * 2 - 1
    mirrored = _uniform(x, generator) < policy.flip
    scale = torch.stack([torch.where(mirrored, -width, width), height], 1)  # (N, 2)
    centre = place * (1 - scale.abs())
    angle = (_uniform(x, generator) * 2 - 1) * math.radians(policy.rotation)
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2)
    affine = torch.cat([scale[:, :, None] * rotation, centre[:, :, None]], 2)
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    views = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    if policy.rotation:  # beyond the window there is black; pixels at its edge are part of both
        size = torch.tensor([x.shape[3], x.shape[2]], device=x.device)
        from_edge = 1 - ((grid - centre[:, None, None]) / scale[:, None, None]).abs()
        views = views * (from_edge * size / 2 + 0.5).clamp(0, 1).prod(3)[:, None]
    return views


def _window(x: Tensor, policy: Policy, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N,) widths and heights of crops, as fractions of the image; the whole image if none fits."""
    draws = _uniform(x, generator, 2, CROP_ATTEMPTS)
    area = policy.crop + draws[:, 0] * (1 - policy.crop)
    aspect = ((draws[:, 1] * 2 - 1) * math.log(policy.aspect)).exp()
    width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
    fits = (width <= 1) & (height <= 1)
    first = fits.int().argmax(1, keepdim=True)
    has_one = fits.any(1)
    one = torch.ones_like(has_one, dtype=x.dtype)
    return (
        torch.where(has_one, width.gather(1, first)[:, 0], one),
        torch.where(has_one, height.gather(1, first)[:, 0], one),
    )


def _jitter(x: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue; in one random order for the batch."""
    is_on = _uniform(x, generator) < policy.jitter_probability
    move = (_uniform(x, generator, 4) * 2 - 1) * policy.jitter * is_on[:, None]
    brightness, contrast, saturation = (1 + move[:, :3]).T[:, :, None, None, None]
    hue = move[:, 3, None, None] / 4
    order = torch.randperm(4, generator=generator, device=x.device).tolist()
    for step in order:
        if step == 0:
            x = (x * brightness).clamp(0, 255)
        elif step == 1:
            mean = _luma(x).mean((2, 3), keepdim=True)
            x = torch.lerp(mean, x, contrast).clamp(0, 255)
        elif step == 2:
            x = torch.lerp(_luma(x), x, saturation).clamp(0, 255)
        else:
            x = _turn_hue(x, hue)
    return x


def _luma(x: Tensor) -> Tensor:
    r, g, b = x.unbind(1)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b)[:, None]


def _turn_hue(x: Tensor, turn: Tensor) -> Tensor:
    """Move the hue of HSV by `turn` (N, 1, 1), in turns of the colour circle."""
    r, g, b = x.unbind(1)
    value, lowest = x.amax(1), x.amin(1)
    chroma = value - lowest
    safe = chroma.clamp(min=1e-6)
    sixths = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    )
    sixths = sixths + 6 * turn
    channels = []
    for offset in (5, 3, 1):
        k = (sixths + offset).remainder(6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)


def _blur(x: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """A Gaussian along the rows and then along the columns, with a width for each image."""
    n, channels, height, width = x.shape
    lowest, highest = BLUR_SIGMA
    sigma = lowest + (highest - lowest) * _uniform(x, generator, 1)
    is_on = _uniform(x, generator, 1) < policy.blur
    radius = int(3.5 * highest)
    offset = torch.arange(-radius, radius + 1, device=x.device)
    gauss = (-0.5 * (offset / sigma).square()).exp()
    kernel = torch.where(is_on, gauss / gauss.sum(1, keepdim=True), (offset == 0).to(x.dtype))
    kernels = kernel.repeat_interleave(channels, 0)[:, None, None]  # (N * C, 1, 1, taps)
    planes = F.pad(x, [radius] * 4, mode="reflect").flatten(0, 1)[None]
    planes = F.conv2d(planes, kernels, groups=n * channels)
    planes = F.conv2d(planes, kernels.transpose(2, 3), groups=n * channels)
    return planes.reshape(n, channels, height, width)


def _cut_out(x: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """A black square inside each image (DeVries & Taylor 2017, arXiv:1708.04552)."""
    is_cut = []
    for size in x.shape[2:]:
        side = int(policy.cutout * size)
        start = (_uniform(x, generator, 1) * (size - side + 1)).floor()
        at = torch.arange(size, device=x.device)
        is_cut.append((at >= start) & (at < start + side))
    rows, columns = is_cut
    return x.masked_fill((rows[:, :, None] & columns[:, None])[:, None], 0)
