"""A file's picture as a viewer shows it, made a square of 8-bit RGB in sRGB.

| in the file | becomes |
|---|---|
| alpha channel, transparent palette or colour | laid on `Reading.background` |
| Exif orientation, of any format | turned upright |
| embedded colour profile | converted to sRGB; one that is broken or of other channels is ignored |
| CMYK without a profile | plain inverse, as Pillow has it |
| 16 bits a channel | the upper 8 |
| floating point | 0 to 1 becomes 0 to 255; refused if a pixel lies beyond |
| 32-bit or signed whole numbers | refused: nothing says which is white |
| several pictures (animations, pages) | the first |

JPEGs are decoded by simplejpeg (libjpeg-turbo), those that are much too large in a reduced size.
Images a second on one CPU thread, decoded alone: of 32 pixels 94,000 (OpenCV 73,000, torchvision
55,000, Pillow 18,000); of 500x375 pixels to a side of 64 1,500 (1,200, 1,200, 760), and to 224,
where resizing by Pillow takes most of the time, 610 (Pillow alone 610). All others, and JPEGs out
of the ordinary, are Pillow's from file to square.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from supcon.listing.listing import FILES, Reader
from supcon.parsing import UserError

Pixels = npt.NDArray[np.uint8]

REDUCING_GAP = 2  # a decoder's coarse reduction stops at so many times the size, as Pillow's does
ORIENTATION = 0x0112  # of Exif
PHOTOMETRIC = 0x0106  # of TIFF; 0: white is zero
CHANNELS = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # a mode -> what its profile must be of
ALIKE = 3  # a profile that moves no colour by more levels is sRGB
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Reading:
    """How a file becomes a square picture: settings of `data`."""

    size: int
    """Side in pixels."""
    fit: Literal["crop", "squeeze", "pad"] = "crop"
    background: str = "white"
    """white, black or #rrggbb."""


class Picture(NamedTuple):
    """What a file shows, and what had to be decided to show it."""

    pixels: Pixels
    """(size, size, 3)."""
    is_transparent: bool = False
    """The background shows through somewhere."""
    is_animated: bool = False
    """The file holds further pictures."""


def read_picture(path: Path, reading: Reading, reader: Reader = FILES) -> Picture:
    """The picture in a file, or in what `reader` takes for one.

    Raises:
        UserError: the file cannot be read, is no image, or does not say how bright it is.
    """
    try:
        content = reader.read(path)
        if (pixels := _decode_plain_jpeg(content, reading.size)) is not None:
            if pixels.shape[:2] == (reading.size, reading.size):
                return Picture(pixels)
            return Picture(_square(Image.fromarray(pixels), reading))
        with Image.open(io.BytesIO(content)) as image:
            return show_picture(image, reading)
    except BROKEN as error:
        raise UserError(
            f"{path}: not a readable image ({_reason(error)}); repair or remove it"
        ) from None


def read_image(path: Path, reading: Reading, reader: Reader = FILES) -> Pixels:
    """The (size, size, 3) pixels of `read_picture`."""
    return read_picture(path, reading, reader).pixels


def _reason(error: BaseException) -> str:
    """Why, without what the path and the program's memory have to do with it."""
    if isinstance(error, UnidentifiedImageError):
        return "of no format that is known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def show_picture(image: Image.Image, reading: Reading) -> Picture:
    """The picture of an image that Pillow has opened, or that was made.

    Raises:
        ValueError: it does not say how bright it is; what Pillow raises of one that is broken.
    """
    is_animated = getattr(image, "n_frames", 1) > 1 and image.format != "MPO"
    shown, is_transparent = _as_shown(image, reading.background)
    return Picture(_square(shown, reading), is_transparent, is_animated)


def _square(image: Image.Image, reading: Reading) -> Pixels:
    """An upright RGB picture as (size, size, 3)."""
    size = reading.size
    match reading.fit:
        case "crop":  # the shorter side becomes `size`, the centre stays
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        case "squeeze":
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        case "pad":  # the longer side becomes `size`
            scale = size / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)
            inner = image.resize((width, height), Image.Resampling.BICUBIC)
            image = Image.new("RGB", (size, size), reading.background)
            image.paste(inner, ((size - width) // 2, (size - height) // 2))
    return np.asarray(image)


def _decode_plain_jpeg(content: bytes, size: int) -> Pixels | None:
    """(H, W, 3) pixels, H and W at least twice `size` if the file's are; None: no plain JPEG."""
    if not content.startswith(b"\xff\xd8") or not _is_as_stored(content):
        return None
    with suppress(ValueError):  # damaged, or unknown to libjpeg-turbo: Pillow decides
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space in ("RGB", "YCbCr", "Gray") and height * width <= (Image.MAX_IMAGE_PIXELS or 0):
            enough = REDUCING_GAP * size
            return simplejpeg.decode_jpeg(content, "RGB", min_height=enough, min_width=enough)
    return None


def _is_as_stored(content: bytes) -> bool:
    """Whether a JPEG needs no turn and no other colours."""
    if b"Exif\0\0" not in content and b"ICC_PROFILE\0" not in content:
        return True
    with Image.open(io.BytesIO(content)) as image:  # reads the header only
        is_upright = image.getexif().get(ORIENTATION, 1) == 1
        return is_upright and _to_srgb(image.info.get("icc_profile"), image.mode) is None


def _as_shown(image: Image.Image, background: str) -> tuple[Image.Image, bool]:
    """Upright, in sRGB, on the background; whether that shows through."""
    profile, clear = image.info.get("icc_profile"), image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # of 16 bits, of which Pillow keeps 8
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    image = ImageOps.exif_transpose(_eight_bit(image))
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode not in CHANNELS or alpha is not None:
        image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    transform = _to_srgb(profile, image.mode)
    shown = image.convert("RGB") if transform is None else transform.apply(image)
    if alpha is None or alpha.getextrema() == (255, 255):
        return shown, False
    flat = Image.new("RGB", shown.size, background)
    flat.paste(shown, mask=alpha)
    return flat, True


@lru_cache(maxsize=64)
def _to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What converts colours of a profile; None if there is nothing to convert, or it cannot be."""
    if not profile or mode not in CHANNELS:
        return None
    with suppress(ImageCms.PyCMSError, OSError, ValueError):  # viewers ignore it, too
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != CHANNELS[mode]:
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, srgb, mode, "RGB")
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        grid = np.stack(np.meshgrid(*[levels] * len(mode)), -1).reshape(1, -1, len(mode))
        probe = Image.fromarray(grid.squeeze(-1) if mode == "L" else grid, mode)
        plain, shown = np.asarray(probe.convert("RGB")), np.asarray(transform.apply(probe))
        is_srgb = np.abs(plain.astype(int) - shown).max() <= ALIKE
        return None if is_srgb else transform
    return None


def _eight_bit(image: Image.Image) -> Image.Image:
    """What has more than 8 bits, scaled; `convert` would clip it at 255, almost all white."""
    if image.mode not in ("F", "I") and not image.mode.startswith("I;16"):
        return image
    is_inverse = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
    values, clear = np.asarray(image), image.info.get("transparency")
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also where one is not a number
            raise ValueError(
                f"floating-point pixels of {low:.4g} to {high:.4g} have no known range; scale "
                f"them to 0 to 1"
            )
        grey = (values * 255).round().astype(np.uint8)
    elif image.mode == "I" and image.format != "PPM":  # whose range Pillow scales to 16 bits
        raise ValueError("32-bit and signed pixels have no known range; save them in 8 or 16 bits")
    else:
        grey = (values.astype(np.int64) >> 8).astype(np.uint8)
    shown = Image.fromarray(255 - grey if is_inverse else grey)
    if clear is not None:
        shown.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    shown.getexif().update(image.getexif())
    return shown
