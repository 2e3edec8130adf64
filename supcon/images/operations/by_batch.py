"""RandAugment's and TrivialAugmentWide's operations on a whole batch, another one for each image.

Operations that move pixels are one affine map of an image; of those that change colours, saturation
and sharpness blend an image with its grey or smooth version, and all others are a table of 256
levels for each image and channel, as in Pillow. Images whose operation is another one pass each of
these unchanged, so that nothing waits for what was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from supcon.images.operations.magnitudes import ALL_OR_NOTHING, OPERATIONS, SIGNED, Operations
from supcon.images.policy import LUMA

IDENTITY = OPERATIONS.index("identity")


class Chosen(NamedTuple):
    """An operation for each image of a batch, O operations to choose from."""

    is_on: Tensor
    """(N, O) bool, one of them true."""
    amounts: Tensor
    """(N, O) magnitude with its sign; 0 where it is not on."""
    moved: Tensor
    """(N, 2, 3) affine map of coordinates from the image that comes out to the one that went in."""


class BatchedOperations:
    """The operations of a policy for images of one shape on one device."""

    def __init__(
        self, operations: Operations, shape: Sequence[int], device: torch.device | None = None
    ) -> None:
        """`shape` is (C, H, W) of the images, C 1 or 3; `device` is where they are augmented."""
        channels, self.height, self.width = shape
        magnitudes = torch.tensor(operations.magnitudes(self.width, self.height))
        self.magnitudes = magnitudes.to(device)  # (O, L)
        self.is_signed = torch.tensor([name in SIGNED for name in OPERATIONS], device=device)
        sometimes = [name in ALL_OR_NOTHING for name in OPERATIONS]
        self.is_sometimes = torch.tensor(sometimes, device=device)
        self.grid = middles(self.height, self.width).to(device)
        self.ids = torch.arange(len(OPERATIONS), device=device)
        self.levels = torch.arange(256.0, device=device)
        self.luma = torch.tensor(LUMA if channels == 3 else (1.0,), device=device)
        self.one = torch.ones((), device=device)
        s = operations.strength
        self.ranges = operations.slots * [
            *((0.0, float(n)) for n in magnitudes.shape),
            (-1.0, 1.0),  # its sign
            (-s, 1 - s),  # whether it happens, if it might not
        ]
        """Of what an image draws: 4 numbers for each operation."""
        self.displace, self.recolour = self._displace, self._recolour

    def compile(self) -> None:
        """Compile all that works on pixels."""
        compiled = partial(torch.compile, dynamic=False)
        self.displace, self.recolour = compiled(self.displace), compiled(self.recolour)

    def chosen(self, drawn: Tensor) -> list[Chosen]:
        """The operations of each slot, from (N, 4 * slots) numbers of `ranges`."""
        operation, level, sign, chance = drawn.unflatten(1, (-1, 4)).transpose(0, 1).unbind(2)
        name = operation.long()  # (slots, N)
        magnitude = self.magnitudes[name, level.long()]
        magnitude = torch.where(self.is_signed[name], magnitude.copysign(sign), magnitude)
        name = name.masked_fill(self.is_sometimes[name] & (chance >= 0), IDENTITY)
        is_on = name[:, :, None] == self.ids
        amounts = is_on * magnitude[:, :, None]
        parts = is_on, amounts, self._moved(amounts)
        return [Chosen(*slot) for slot in zip(*(part.unbind(0) for part in parts), strict=True)]

    def apply(self, x: Tensor, chosen: list[Chosen]) -> Tensor:
        """Images (N, C, H, W) in [0, 255] after an operation of each slot, in whole numbers.

        The first does not move pixels any more: whoever made `x` has, by its `moved`.
        """
        for i, slot in enumerate(chosen):
            if i > 0:
                x = self.displace(x, slot.moved)
            x = self.recolour(x, slot.is_on, slot.amounts)
        return x

    def _moved(self, amounts: Tensor) -> Tensor:
        """(..., 2, 3): shears start at the upper left corner, as torchvision's."""
        first = OPERATIONS.index("shear_x")
        shear_x, shear_y, right, down, angle = amounts[..., first : first + 5].unbind(-1)
        cos, sin = (angle * (math.pi / 180)).cos(), (angle * (math.pi / 180)).sin()
        tall, wide = self.height / self.width, self.width / self.height
        x_axis = [cos, (shear_x - sin) * tall, shear_x * tall - right * (2 / self.width)]
        y_axis = [(shear_y + sin) * wide, cos, shear_y * wide - down * (2 / self.height)]
        return torch.stack([torch.stack(x_axis, -1), torch.stack(y_axis, -1)], -2)

    def _displace(self, x: Tensor, moved: Tensor) -> Tensor:
        """Bilinear; black comes in from outside."""
        return F.grid_sample(x, affine_grid(self.grid, moved), align_corners=False)

    def _recolour(self, x: Tensor, is_on: Tensor, amounts: Tensor) -> Tensor:
        on = dict(zip(OPERATIONS, is_on[:, :, None, None].unbind(1), strict=True))  # (N, 1, 1)
        by = dict(zip(OPERATIONS, amounts[:, :, None, None].unbind(1), strict=True))
        x = self._blend(x, by)
        levels = x.round().long().flatten(2)  # (N, C, H * W)
        return self._table(x, levels, on, by).gather(2, levels).view(x.shape)

    def _blend(self, x: Tensor, by: dict[str, Tensor]) -> Tensor:
        """Saturation and sharpness: away from an image without, or towards it."""
        if x.shape[1] == 3:
            grey = torch.bmm(self.luma.expand(len(x), 1, -1), x.flatten(2)).view_as(x[:, :1])
            blended = torch.addcmul(x, by["saturation"][..., None], x - grey)
        else:
            blended = x.clone()
        # Pillow's smooth image: of nine pixels the middle one counts 5/13, the others 1/13. The
        # outermost pixels stay as they are.
        inner = x[:, :, 1:-1, 1:-1]
        rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
        nine = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        edges = torch.sub(inner, nine, alpha=1 / 9)
        blended[:, :, 1:-1, 1:-1].addcmul_(by["sharpness"][..., None], edges, value=9 / 13)
        return blended.clamp_(0, 255)

    def _table(
        self, x: Tensor, levels: Tensor, on: dict[str, Tensor], by: dict[str, Tensor]
    ) -> Tensor:
        """(N, C, 256): what becomes of each level in each channel of an image."""
        old = self.levels
        counts = old.new_zeros(*levels.shape[:2], 256)
        counts.scatter_add_(2, levels, self.one.expand_as(levels))
        darkest, brightest = (each[:, :, None] for each in levels.aminmax(dim=2))
        mean = (x.mean((2, 3)) @ self.luma)[:, None, None]
        new = old * (1 + by["brightness"] + by["contrast"]) - by["contrast"] * mean
        new = new.clamp(0, 255).floor()
        step = by["posterize"].exp2()
        new = (new / step).floor() * step
        new = torch.where(on["solarize"] & (old >= by["solarize"]), 255 - old, new)
        spread = (brightest - darkest).clamp(min=1)
        stretched = ((old - darkest) * 255 / spread).clamp(0, 255).floor()
        new = torch.where(on["autocontrast"] & (brightest > darkest), stretched, new)
        # Pixels for each level of an equalised image; those of the brightest level do not count.
        share = ((levels.shape[2] - counts.gather(2, brightest)) / 255).floor()
        below = counts.cumsum(2) - counts
        flat = ((below + (share / 2).floor()) / share.clamp(min=1)).floor().clamp(0, 255)
        return torch.where(on["equalize"] & (share > 0), flat, new)


def middles(height: int, width: int) -> Tensor:
    """(H, W, 2) middles of pixels, x before y, -1 to 1 across the image."""
    at = [(torch.arange(size) * 2 + 1) / size - 1 for size in (height, width)]
    y, x = torch.meshgrid(*at, indexing="ij")
    return torch.stack([x, y], 2)


def affine_grid(grid: Tensor, maps: Tensor) -> Tensor:
    """(N, H, W, 2) points of a `grid` (H, W, 2) after maps (N, 2, 3); torch's is a slow product."""
    x_axis, y_axis, offset = maps[:, None, None].unbind(-1)
    return torch.addcmul(torch.addcmul(offset, grid[..., :1], x_axis), grid[..., 1:], y_axis)
