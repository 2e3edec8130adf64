"""Corrupted images: the same for everybody, and as bad as is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from supcon.images.decoding import Pixels
from supcon.reliability.corruptions import KINDS, LEVELS, Kind, corrupt


def images(n: int = 6, side: int = 32, channels: int = 3, seed: int = 0) -> Pixels:
    """Smooth ones, away from black and white, so that nothing is cut off."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(n, side, side, channels))
    smooth = gaussian_filter(rough, (0, side / 16, side / 16, 0))
    return (128 + 30 * smooth / smooth.std()).clip(60, 200).astype(np.uint8)


def worse(x: Pixels, kind: Kind, level: int) -> Pixels:
    return corrupt(x, kind, level, np.arange(len(x)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_corrupted_alike_whatever_lies_beside_it(kind: Kind, channels: int) -> None:
    x = images(channels=channels)
    whole = worse(x, kind, 1)
    assert whole.shape == x.shape
    assert whole.dtype == np.uint8
    some = np.array([4, 1])
    assert np.array_equal(corrupt(x[some], kind, 1, some), whole[some])
    assert not np.array_equal(whole, x)


@pytest.mark.parametrize("side", [16, 32, 224])
@pytest.mark.parametrize("kind", KINDS)
def test_each_level_is_worse_than_the_one_before(kind: Kind, side: int) -> None:
    x = images(side=side, n=2)
    x[:, ::4] -= 40  # edges, which blurring takes away
    far = [np.abs(worse(x, kind, level).astype(float) - x).mean() for level in LEVELS]
    assert far[0] > 0.2
    assert far == sorted(set(far))


@pytest.mark.parametrize(("side", "r"), [(16, math.sqrt(0.5)), (32, 1), (224, math.sqrt(7))])
def test_noise_has_the_deviation_that_is_stated(side: int, r: float) -> None:
    x = np.full((8, side, side, 1), 128, np.uint8)
    for level, deviation in enumerate((0.04, 0.07, 0.1)):
        low, high = np.quantile(worse(x, "noise", level) / 255, [0.1587, 0.8413])  # +- 1 deviation
        assert (high - low) / 2 == pytest.approx(deviation * r, rel=0.05)


def test_noise_is_another_one_for_each_image_and_level() -> None:
    x = np.full((2, 16, 16, 1), 128, np.uint8)
    first, other = worse(x, "noise", 1)
    assert not np.array_equal(first, other)
    pattern = (worse(x, "noise", 2)[0] > 128) == (first > 128)
    assert 0.3 < pattern.mean() < 0.7


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_is_a_convolution_with_a_gaussian_of_the_stated_width(channels: int) -> None:
    x = images(n=2, channels=channels)
    for level, sigma in enumerate((0.5, 0.8, 1.1)):
        reach = math.ceil(3 * sigma)
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weight = torch.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
        weight /= weight.sum()
        pictures = torch.from_numpy(x).permute(0, 3, 1, 2).double()
        padded = F.pad(pictures, (reach,) * 4, mode="replicate")
        kernel = weight.expand(channels, 1, *weight.shape)
        theirs = F.conv2d(padded, kernel, groups=channels).permute(0, 2, 3, 1).numpy()
        assert np.abs(worse(x, "blur", level) - theirs).max() <= 0.51


def test_contrast_and_brightness_are_those_of_the_table() -> None:
    x = images()
    for level, factor in enumerate((0.6, 0.4, 0.2)):
        for image, found in zip(x, worse(x, "contrast", level), strict=True):
            assert np.abs(found - (image.mean() + factor * (image - image.mean()))).max() <= 0.51
    for level, more in enumerate((0.1, 0.2, 0.35)):
        expected = np.minimum(x + 255 * more, 255)
        assert np.abs(worse(x, "brightness", level) - expected).max() <= 0.51


def test_jpeg_keeps_what_an_image_shows_and_grey_ones_grey() -> None:
    x = images(n=2, side=64)
    for channels in (1, 3):
        found = worse(x[..., :channels], "jpeg", 2).astype(float)
        assert np.abs(found - x[..., :channels]).mean() < 12


def test_values_end_at_black_and_white() -> None:
    x = np.full((1, 16, 16, 1), 250, np.uint8)
    assert worse(x, "brightness", 2).min() == 255  # and does not begin at 0 again
    noised = worse(x, "noise", 2)
    assert noised.min() > 150
