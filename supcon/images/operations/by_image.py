"""RandAugment's and TrivialAugmentWide's operations on one image: those of torchvision.

albumentations has no such policy, and torchvision's own draw from torch's global random numbers: as
steps of an albumentations pipeline, torchvision's operations have a random stream each. What moves
pixels takes tensors, since on Pillow's images the edge of what comes in depends on half a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import albumentations as A
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from supcon.images.operations.magnitudes import ALL_OR_NOTHING, OPERATIONS, SIGNED, Operations

BILINEAR = InterpolationMode.BILINEAR


class RandomOperation(A.ImageOnlyTransform):
    """One operation of those of a policy, for (H, W, C) uint8 images, C 1 or 3."""

    def __init__(self, operations: Operations, size: int) -> None:
        """`size` is the side of the images in pixels."""
        super().__init__(p=1)
        self.strength, self.magnitudes = operations.strength, operations.magnitudes(size, size)

    def get_params(self) -> dict[str, Any]:
        """What `apply` does to an image: the name of an operation and its magnitude."""
        draw = self.py_random
        row = draw.randrange(len(OPERATIONS))
        name, magnitude = OPERATIONS[row], draw.choice(self.magnitudes[row])
        if name in SIGNED and draw.random() < 0.5:
            magnitude = -magnitude
        if name in ALL_OR_NOTHING and draw.random() >= self.strength:
            name = "identity"
        return {"name": name, "magnitude": magnitude}

    def apply(
        self, img: npt.NDArray[np.uint8], name: str, magnitude: float, **_: Any
    ) -> npt.NDArray[np.uint8]:
        """An image after the operation."""
        if name in MOVE:
            moved = MOVE[name](torch.tensor(img).permute(2, 0, 1), magnitude)
            return moved.permute(1, 2, 0).numpy()
        image = Image.fromarray(img if img.shape[2] == 3 else img[:, :, 0])
        return np.asarray(RECOLOUR[name](image, magnitude)).reshape(img.shape)


def _shear(image: Tensor, right: float, down: float) -> Tensor:
    """Pixels a pixel, from the upper left corner; black comes in."""
    degrees = [math.degrees(math.atan(slope)) for slope in (right, down)]
    return F.affine(image, 0, [0, 0], 1, degrees, interpolation=BILINEAR, center=[0, 0])


def _translate(image: Tensor, right: float, down: float) -> Tensor:
    """Whole pixels; black comes in."""
    return F.affine(image, 0, [int(right), int(down)], 1, [0, 0], interpolation=BILINEAR)


MOVE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "shear_x": lambda image, slope: _shear(image, slope, 0),
    "shear_y": lambda image, slope: _shear(image, 0, slope),
    "translate_x": lambda image, pixels: _translate(image, pixels, 0),
    "translate_y": lambda image, pixels: _translate(image, 0, pixels),
    "rotate": lambda image, degrees: F.rotate(image, degrees, interpolation=BILINEAR),
}
"""Operations that move the pixels of a (C, H, W) uint8 image, by a magnitude."""

RECOLOUR: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "brightness": lambda image, more: F.adjust_brightness(image, 1 + more),
    "saturation": lambda image, more: F.adjust_saturation(image, 1 + more),
    "contrast": lambda image, more: F.adjust_contrast(image, 1 + more),
    "sharpness": lambda image, more: F.adjust_sharpness(image, 1 + more),
    "posterize": lambda image, bits: F.posterize(image, 8 - int(bits)),
    "solarize": lambda image, threshold: F.solarize(image, threshold),
    "autocontrast": lambda image, _: F.autocontrast(image),
    "equalize": lambda image, _: F.equalize(image),
}
"""All others, on Pillow's images."""
