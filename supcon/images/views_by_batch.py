"""The augmentation policy on a whole batch, on its device, with parameters drawn for each image.

For images that lie decoded in memory. The same policy image by image is in
`supcon.images.views_by_image`; tests hold that both agree in distribution. torchvision's transforms
would draw one set of parameters for the whole batch; kornia draws them for each image, but took 2.7
to 3.0 times as long (400 images of 32 pixels, one CPU thread, strengths 0.5 and 1).

A GPU runs small calls faster than Python makes them, so there are few of them, and none that waits
for a result: constants are made once, and one call draws all random numbers of a batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from supcon.images.operations.by_batch import BatchedOperations, affine_grid, middles
from supcon.images.policy import BLUR_SIGMA, LUMA, Policy
from supcon.seeds import derive_seed

CROP_ATTEMPTS = 10  # windows drawn for an image, of which the first that fits is taken


class ResidentViews:
    """The batches of one epoch, from images in memory.

    The augmentation of an epoch is a function of `seed` alone. Images that found no room on the
    training device stay on the CPU and go there batch by batch, as uint8.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        augmentation: Augmentation,
        order_SB: npt.NDArray[np.intp],
        *,
        views: int,
        seed: int,
    ) -> None:
        """Steps S of B images, each in so many `views`, drawn by `augmentation`.

        `images` are (N, C, H, W) uint8; `labels` are (N,), on the device of the batches; `order_SB`
        are places of images.
        """
        self.images, self.labels, self.augmentation = images, labels, augmentation
        self.order_SB, self.views, self.seed = torch.from_numpy(order_SB), views, seed

    def __len__(self) -> int:
        return len(self.order_SB)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (V * B, C, H, W) fp32 views, view after view, and their (V * B,) labels."""
        device = self.labels.device
        order_SB = self.order_SB.to(self.images.device)
        labels_SV = self.labels[order_SB.to(device)].repeat(1, self.views)
        generator = torch.Generator(device).manual_seed(self.seed)
        rng = np.random.default_rng(derive_seed(self.seed, "jitter"))
        for chosen, labels in zip(order_SB, labels_SV, strict=True):
            images = self._images(chosen, device).repeat(self.views, 1, 1, 1)
            yield self.augmentation(images, generator, rng.permutation(4).tolist()), labels

    def _images(self, chosen: Tensor, device: torch.device) -> Tensor:
        """(B, C, H, W) uint8 on `device`."""
        if self.images.device == device:
            return self.images[chosen]
        # From pinned memory the copy waits for nothing.
        size = (len(chosen), *self.images.shape[1:])
        images = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        torch.index_select(self.images, 0, chosen, out=images)
        return images.to(device, non_blocking=True)


class Augmentation:
    """A policy for images of one shape on one device: a view of each image of a batch."""

    def __init__(
        self, policy: Policy, shape: Sequence[int], device: torch.device | None = None
    ) -> None:
        """`shape` is (C, H, W) of the images, C 1 or 3; `device` is where they are augmented."""
        self.policy, ranges = policy, _ranges(policy, shape)
        self.operations = None
        if policy.operations:
            self.operations = BatchedOperations(policy.operations, shape, device)
            ranges.append(self.operations.ranges)
        self.sizes = [len(columns) for columns in ranges]
        lowest, highest = torch.tensor(list(itertools.chain(*ranges))).T
        self.lowest, self.span = lowest.to(device), (highest - lowest).to(device)
        _, height, width = shape
        self.grid = middles(height, width).to(device)
        self.half = torch.tensor([width / 2, height / 2], device=device)
        self.neutral = torch.tensor([1.0, 1, 1, 0], device=device)
        self.luma = torch.tensor([[LUMA]], device=device)
        self.hue = _Hue(device)
        radius = int(3.5 * BLUR_SIGMA[1])
        self.taps = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
        self.warp, self.finish = self._warp, self._finish
        self.jitters = [self._brighten, self._contrast, self._saturate, self._turn]

    def compile(self) -> None:
        """Compile all that draws nothing; each step of the jitter alone, since they come in any
        order.
        """
        compiled = partial(torch.compile, dynamic=False)
        self.warp, self.finish = compiled(self.warp), compiled(self.finish)
        self.jitters = [compiled(jitter) for jitter in self.jitters]
        if self.operations:
            self.operations.compile()

    def __call__(
        self, images: Tensor, generator: torch.Generator, jitter_order: Sequence[int] = range(4)
    ) -> Tensor:
        """One view of each image.

        Args:
            images: (N, C, H, W) uint8.
            generator: on the images' device; all random numbers come from it.
            jitter_order: of brightness (0), contrast (1), saturation (2) and hue (3).

        Returns:
            (N, C, H, W) fp32 in [0, 255], not rounded, in channels_last.
        """
        random = torch.rand(len(images), len(self.span), generator=generator, device=images.device)
        drawn = torch.addcmul(self.lowest, self.span, random).split(self.sizes, 1)
        area, stretch, place, mirror, angle, factors, sigma, corner, chances, *others = drawn
        jittered, greyed, blurred = (chances < 0).split(1, 1)  # (N, 1) each
        chosen = self.operations.chosen(*others) if self.operations else []
        moved = chosen[0].moved if chosen else None
        x = self.warp(images, area, stretch, place, mirror, angle, moved)
        if self.operations:
            x = self.operations.apply(x, chosen)
        if x.shape[1] == 3 and self.policy.jitter:
            factors = torch.where(jittered, factors, self.neutral)[:, :, None, None, None]
            for step in jitter_order:
                x = self.jitters[step](x, factors[:, step])
        return self.finish(x, greyed, sigma, blurred, corner)

    def _warp(
        self,
        images: Tensor,
        area: Tensor,
        stretch: Tensor,
        place: Tensor,
        mirror: Tensor,
        angle: Tensor,
        moved: Tensor | None,
    ) -> Tensor:
        """Crop, resize to full size, mirror, rotate or move: one bilinear sampling of the pixels.

        Coordinates are those of `grid_sample`: -1 to 1 across an image, x before y. `moved` are
        (N, 2, 3) affine maps of them, from a view to its window.
        """
        policy, x = self.policy, images.float()
        is_turned = policy.rotation > 0 or moved is not None
        if policy.crop == policy.aspect == 1 and not (policy.flip or is_turned):
            return x
        size = _window(area, stretch)
        centre = (place * (1 - size))[:, None, None]
        size = torch.copysign(size, mirror)[:, None, None]
        within = self.grid  # the window
        if policy.rotation:
            cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
            x_axis, y_axis = self.grid.unbind(2)
            quarter = torch.stack([-y_axis, x_axis], 2)
            within = torch.addcmul(cos * self.grid, sin, quarter)
        if moved is not None:
            within = affine_grid(self.grid, moved)
        grid = torch.addcmul(centre, size, within)
        views = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        if is_turned:  # beyond it there is black; pixels at its edge are part of both
            share = torch.addcmul(self.half + 0.5, self.half, within.abs(), value=-1)
            views = views * share.clamp_(0, 1).prod(3)[:, None]
        return views

    def _brighten(self, x: Tensor, factor: Tensor) -> Tensor:
        return (x * factor).clamp_(0, 255)

    def _contrast(self, x: Tensor, factor: Tensor) -> Tensor:
        mean = torch.mv(x.mean((2, 3)), self.luma[0, 0])
        return torch.lerp(mean[:, None, None, None], x, factor).clamp_(0, 255)

    def _saturate(self, x: Tensor, factor: Tensor) -> Tensor:
        return torch.lerp(self._luma(x), x, factor).clamp_(0, 255)

    def _turn(self, x: Tensor, turn: Tensor) -> Tensor:
        return self.hue.turned(x, turn)

    def _finish(
        self, x: Tensor, greyed: Tensor, sigma: Tensor, blurred: Tensor, corner: Tensor
    ) -> Tensor:
        """Drop the colour, blur, cut out."""
        if x.shape[1] == 3 and self.policy.grey:
            x = torch.where(greyed[:, :, None, None], self._luma(x), x)
        if self.policy.blur:
            x = self._blur(x, sigma, blurred)
        if self.policy.cutout:
            x = self._cut_out(x, corner)
        return x.contiguous(memory_format=torch.channels_last)

    def _luma(self, x: Tensor) -> Tensor:
        """(N, 1, H, W)."""
        return torch.bmm(self.luma.expand(len(x), -1, -1), x.flatten(2)).unflatten(2, x.shape[2:])

    def _blur(self, x: Tensor, sigma: Tensor, is_on: Tensor) -> Tensor:
        """A Gaussian along the rows and then along the columns, with a width for each image."""
        n, channels, height, width = x.shape
        gauss = (-0.5 * (self.taps / sigma).square()).exp()
        kernel = torch.where(is_on, gauss / gauss.sum(1, keepdim=True), (self.taps == 0).float())
        kernels = kernel.repeat_interleave(channels, 0)[:, None, None]  # (N * C, 1, 1, taps)
        planes = F.pad(x, [len(self.taps) // 2] * 4, mode="reflect").flatten(0, 1)[None]
        planes = F.conv2d(planes, kernels, groups=n * channels)
        planes = F.conv2d(planes, kernels.transpose(2, 3), groups=n * channels)
        return planes.reshape(n, channels, height, width)

    def _cut_out(self, x: Tensor, corner: Tensor) -> Tensor:
        """A black square inside each image (DeVries & Taylor 2017, arXiv:1708.04552)."""
        is_cut = []
        for start, size in zip(corner.floor().split(1, 1), x.shape[2:], strict=True):
            middle = (int(self.policy.cutout * size) - 1) / 2
            at = torch.arange(size, device=x.device)
            is_cut.append((at - start - middle).abs() <= middle)
        rows, columns = is_cut
        return x.masked_fill((rows[:, :, None] & columns[:, None])[:, None], 0)


class _Hue:
    """Turns the hue of HSV."""

    def __init__(self, device: torch.device | None) -> None:
        # Differences of the other two channels: g - b, b - r, r - g.
        self.others = torch.tensor([[[0.0, 1, -1], [-1, 0, 1], [1, -1, 0]]], device=device)
        self.sixth_of_largest = torch.tensor([0.0, 2, 4], device=device).view(3, 1, 1)
        self.offset = torch.tensor([5.0, 3, 1], device=device).view(3, 1, 1)

    def turned(self, x: Tensor, turn: Tensor) -> Tensor:
        """Images (N, 3, H, W) whose hue has moved by `turn` (N, 1, 1, 1), in turns of the circle.

        In HSV, a channel is value - chroma * clamp(min(k, 4 - k), 0, 1) with k = offset + sixths
        of the hue, modulo 6.
        """
        value = x.amax(1, keepdim=True)
        chroma = value - x.amin(1, keepdim=True)
        differences = torch.bmm(self.others.expand(len(x), -1, -1), x.flatten(2)).view_as(x)
        # Times the chroma: 0 to 6, at the largest channel; of equals at any, which is the same.
        sixths = torch.addcmul(differences, chroma, self.sixth_of_largest)
        is_r, is_g, _ = (x == value).split(1, 1)
        r, g, b = sixths.split(1, 1)
        hue = torch.where(is_r, r, torch.where(is_g, g, b)) / chroma.clamp(min=1e-6)
        k = (hue + torch.add(self.offset, turn, alpha=6)).remainder_(6)
        return torch.addcmul(value, chroma, torch.minimum(k, 4 - k).clamp_(0, 1), value=-1)


def _ranges(policy: Policy, shape: Sequence[int]) -> list[list[tuple[float, float]]]:
    """What an image draws, each number uniformly from a range: [lowest, highest).

    Something that happens with probability p is a number from [-p, 1 - p): it does if negative.
    """
    j, turn = policy.jitter, math.radians(policy.rotation)
    whole = [(1.0, 1.0)]  # the last window, which always fits
    return [
        CROP_ATTEMPTS * [(policy.crop, 1.0)] + whole,  # areas
        # Logarithms of square roots of aspect ratios.
        CROP_ATTEMPTS * [(-math.log(policy.aspect) / 2, math.log(policy.aspect) / 2)]
        + [(0.0, 0.0)],
        2 * [(-1.0, 1.0)],  # place of the window, x and y
        [(-policy.flip, 1 - policy.flip), (1.0, 1.0)],
        [(-turn, turn)],
        [*3 * [(1 - j, 1 + j)], (-j / 4, j / 4)],
        [BLUR_SIGMA],
        [(0.0, size - int(policy.cutout * size) + 1) for size in shape[1:]],  # upper left corner
        [(-p, 1 - p) for p in (policy.jitter_probability, policy.grey, policy.blur)],
    ]


def _window(area: Tensor, stretch: Tensor) -> Tensor:
    """(N, 2) width and height of the first crop that fits, as fractions of the image."""
    root, stretch = area.sqrt(), stretch.exp()
    sizes = torch.stack([root * stretch, root / stretch], 2)  # (N, attempts, 2)
    first = (sizes.amax(2) <= 1).view(torch.uint8).argmax(1)
    return sizes.gather(1, first[:, None, None].expand(-1, 1, 2))[:, 0]
