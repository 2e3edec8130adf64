"""RandAugment's and TrivialAugmentWide's operations on one image, as steps of albumentations.

albumentations has no such policy, and torchvision's draw from torch's global random numbers.
Colours are changed by torchvision, on Pillow's images; pixels are moved by OpenCV, as in
albumentations, to what torchvision makes of tensors, in a fraction of its time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import albumentations as A
import cv2
import numpy as np
from PIL import Image
from torchvision.transforms.v2 import functional as F

from supcon.images.decoding import Pixels
from supcon.images.operations.magnitudes import ALL_OR_NOTHING, OPERATIONS, SIGNED, Operations


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

    def apply(self, img: Pixels, name: str, magnitude: float, **_: Any) -> Pixels:
        """An image after the operation."""
        if name in MAPS:
            return moved(img, name, magnitude)
        image = Image.fromarray(img if img.shape[2] == 3 else img[:, :, 0])
        return np.asarray(RECOLOUR[name](image, magnitude)).reshape(img.shape)


def moved(image: Pixels, name: str, magnitude: float) -> Pixels:
    """An image (H, W, C) after an operation of `MAPS`: bilinear; black comes in from outside."""
    size = image.shape[1::-1]
    (a, b, c), (d, e, f) = MAPS[name](magnitude, *size)
    # Maps are of points, of which the first pixel's is (0.5, 0.5) and not OpenCV's (0, 0).
    pixels = np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, pixels, size, flags=flags).reshape(image.shape)


def _turn(degrees: float, width: int, height: int) -> Map:
    """Against the clock, about the middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y)


Map = tuple[tuple[float, float, float], tuple[float, float, float]]

MAPS: dict[str, Callable[[float, int, int], Map]] = {
    "shear_x": lambda slope, *_: ((1, slope, 0), (0, 1, 0)),
    "shear_y": lambda slope, *_: ((1, 0, 0), (slope, 1, 0)),
    "translate_x": lambda pixels, *_: ((1, 0, -pixels), (0, 1, 0)),
    "translate_y": lambda pixels, *_: ((1, 0, 0), (0, 1, -pixels)),
    "rotate": _turn,
}
"""Of operations that move pixels, by magnitude, width and height: where a point (x, y) comes from,
in pixels from the upper left corner."""

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
