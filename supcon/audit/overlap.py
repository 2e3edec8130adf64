"""How well a picture lies on another one that was shifted, cropped or mirrored since.

Of the picture, whole and in two smaller sizes, the middle is laid on every place of the other, as
it is and mirrored. What counts is the correlation of the details there, not of brightness.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from supcon.audit.marks import SIDE, grey_of, thumbnails
from supcon.images.decoding import Pixels

PATCH = 24  # side of the middle
SIDES = (32, 28, 24)  # of the picture: that of a crop is smaller
LEAST_DETAIL = 1.0  # grey levels, root mean square: with less a correlation is one of noise


def greys(pixels: Pixels) -> Tensor:
    """(n, H, W, C) -> (n, SIDE, SIDE) uint8."""
    return torch.from_numpy(grey_of(thumbnails(pixels)))


def overlap(pictures: Tensor, others: Tensor) -> Tensor:
    """The highest correlation over all places, sizes and both directions.

    Args:
        pictures: (B, SIDE, SIDE) as of `greys`.
        others: (B, C, SIDE, SIDE), C for each of them.

    Returns:
        (B, C), -1 to 1.
    """
    middles = _middles(pictures.float())  # (B, T, PATCH, PATCH)
    ground = _details(others.float().flatten(0, 1)).reshape(others.shape)
    waves = torch.fft.rfft2(ground)[:, :, None]
    laid = torch.fft.rfft2(middles, s=(SIDE, SIDE)).conj()[:, None]
    places = SIDE - PATCH + 1
    products = torch.fft.irfft2(waves * laid, s=(SIDE, SIDE))[..., :places, :places]
    area = PATCH * PATCH
    mean, square = (_means(x) for x in (ground, ground**2))
    spread = (area * (square - mean**2).clamp(min=LEAST_DETAIL**2)).sqrt()
    return (products / spread[:, :, None]).amax((2, 3, 4))


def _means(ground: Tensor) -> Tensor:
    """(B, C, SIDE, SIDE) -> (B, C, places, places); by rows and columns, a third of the time."""
    return F.avg_pool2d(F.avg_pool2d(ground, (PATCH, 1), stride=1), (1, PATCH), stride=1)


def _middles(pictures: Tensor) -> Tensor:
    """(B, SIDE, SIDE) -> (B, T, PATCH, PATCH) of mean 0 and, where there is detail, length 1."""
    found = []
    for picture in (pictures, pictures.flip(2)):
        for side in SIDES:
            sized = F.interpolate(
                picture[:, None], (side, side), mode="bicubic", antialias=True, align_corners=False
            )
            edge = (side - PATCH) // 2
            middle = _details(sized[:, 0])[:, edge : edge + PATCH, edge : edge + PATCH]
            middle = middle - middle.mean((1, 2), keepdim=True)
            found.append(middle / middle.norm(dim=(1, 2), keepdim=True).clamp(LEAST_DETAIL * PATCH))
    return torch.stack(found, dim=1)


def _details(grey: Tensor) -> Tensor:
    """(n, S, S) minus what a binomial blur leaves."""
    line = torch.tensor([1.0, 4, 6, 4, 1], device=grey.device) / 16
    padded = F.pad(grey[:, None], (2, 2, 2, 2), mode="reflect")
    return grey - F.conv2d(padded, torch.outer(line, line)[None, None])[:, 0]
