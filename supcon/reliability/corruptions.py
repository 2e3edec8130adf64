"""Images made worse on purpose, always in the same way: five kinds, three levels each.

After Hendrycks & Dietterich 2019 (arXiv:1903.12261). What a level means depends on the side of the
image in pixels, within 16 to 224: at 32 the levels are about the first, third and fifth of
CIFAR-10-C, at 224 the second, third and fourth of ImageNet-C, and in between by the square root of
the side, r = sqrt(side / 32).

| kind | of | levels |
|---|---|---|
| noise | standard deviation of Gaussian noise, of 1 | 0.04 r, 0.07 r, 0.1 r |
| blur | standard deviation of a Gaussian, in pixels | 0.5 r, 0.8 r, 1.1 r |
| contrast | factor of the distance to the image's mean | 0.6, 0.4, 0.2 |
| brightness | added to each channel, of 1 | 0.1, 0.2, 0.35 |
| jpeg | quality of 100 | 80 / r, 60 / r, 40 / r |
"""

from __future__ import annotations

import io
import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from supcon.images.decoding import Pixels

Kind = Literal["noise", "blur", "contrast", "brightness", "jpeg"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEVELS = (0, 1, 2)

NOISE = (0.04, 0.07, 0.10)
BLUR = (0.5, 0.8, 1.1)
CONTRAST = (0.6, 0.4, 0.2)
BRIGHTNESS = (0.1, 0.2, 0.35)
QUALITY = (80, 60, 40)


def corrupt(images: Pixels, kind: Kind, level: int, indices: npt.NDArray[np.intp]) -> Pixels:
    """(N, H, W, C) uint8, the same for an image whatever lies beside it.

    Args:
        images: (N, H, W, C) uint8.
        kind: what is done to them.
        level: 0, 1 or 2, the worst.
        indices: (N,) of the images in their set; noise is drawn by them.
    """
    r = math.sqrt(min(max(min(images.shape[1:3]), 16), 224) / 32)
    match kind:
        case "noise":
            return _noised(images, NOISE[level] * r, level, indices)
        case "blur":
            return _blurred(images, BLUR[level] * r)
        case "contrast":
            mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
            return _rounded(mean + np.float32(CONTRAST[level]) * (images - mean))
        case "brightness":
            return _rounded(images + np.float32(255 * BRIGHTNESS[level]))
        case "jpeg":
            return _compressed(images, min(95, round(QUALITY[level] / r)))


def _rounded(values: npt.NDArray[np.floating]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)


def _noised(images: Pixels, deviation: float, level: int, indices: npt.NDArray[np.intp]) -> Pixels:
    out = np.empty_like(images)
    for i, (image, index) in enumerate(zip(images, indices, strict=True)):
        rng = np.random.default_rng([level, int(index)])
        noise = rng.standard_normal(image.shape, np.float32)
        out[i] = _rounded(image + np.float32(255 * deviation) * noise)
    return out


def _blurred(images: Pixels, sigma: float) -> Pixels:
    """Each channel by a Gaussian, out to 3 sigma; what lies beyond an edge repeats it."""
    of_axes, reach = (0, sigma, sigma, 0), math.ceil(3 * sigma)
    found = gaussian_filter(images, of_axes, output=np.float32, mode="nearest", radius=reach)
    return _rounded(found)


def _compressed(images: Pixels, quality: int) -> Pixels:
    """Through a JPEG file: in colour if there are three channels, else each channel by itself."""
    out = np.empty_like(images)
    for i, image in enumerate(images):
        if image.shape[2] == 3:
            out[i] = _through_jpeg(image, quality)
        else:
            for c in range(image.shape[2]):
                out[i, ..., c] = _through_jpeg(image[..., c], quality)
    return out


def _through_jpeg(picture: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as read:
        return np.asarray(read)
