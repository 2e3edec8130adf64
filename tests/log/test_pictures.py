"""Small pictures of images, as the log keeps them."""

from __future__ import annotations

import base64
import io
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from search.log.pictures import pictured, small_picture
from supcon.audit.audit import Part


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_that_of_the_pixels_and_no_larger_than_asked(
    kind: Literal["JPEG", "WEBP"], channels: int
) -> None:
    ramp = np.linspace(0, 255, 40).astype(np.uint8)
    pixels = np.broadcast_to(ramp[None, :, None], (20, 40, channels))
    with Image.open(io.BytesIO(base64.b64decode(small_picture(pixels, 16, kind)))) as image:
        assert image.format == kind
        assert image.size == (16, 8)
        found = np.asarray(image.convert("L")).astype(int)
    expected = np.asarray(Image.fromarray(pixels[..., 0]).resize((16, 8)))
    assert np.abs(found - expected).mean() < 8


def test_what_is_shown_has_its_part_its_label_and_its_place() -> None:
    images = np.zeros((3, 9, 9, 1), dtype=np.uint8)
    found = pictured(Part("val", images, np.array([0, 1, 1])), 2, ("cat", "dog"))
    assert (found.part, found.image, found.label) == ("val", "2", "dog")
    assert base64.b64decode(found.picture)
