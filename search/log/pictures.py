"""Small pictures of images, as the log keeps them for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Literal

from PIL import Image

from search.log.events import Shown
from supcon.audit.audit import Part
from supcon.images.decoding import Pixels

SIDE = 64  # of a picture beside another one, in pixels, at most


def small_picture(pixels: Pixels, side: int, kind: Literal["JPEG", "WEBP"]) -> str:
    """(H, W, C) uint8 -> a picture in base64, no longer or wider than `side`."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((side, side))
    file = io.BytesIO()
    if kind == "JPEG":
        image.save(file, kind, quality=90, subsampling=0)
    else:
        image.convert("RGB").save(file, kind, quality=90)
    return base64.b64encode(file.getvalue()).decode()


def pictured(part: Part, i: int, classes: Sequence[str]) -> Shown:
    """Image `i` of a part, as a report shows it."""
    picture = small_picture(part.images[i : i + 1][0], SIDE, "JPEG")
    label = classes[part.labels[i]]
    return Shown(part=part.name, image=part.name_of(i), label=label, picture=picture)
