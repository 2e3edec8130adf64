"""A gallery of files: each shows what a viewer shows, or is refused with its reason."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from supcon.images.decoding import Reading, read_image, read_picture
from supcon.parsing import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
Colour = tuple[int, int, int]
Make = Callable[[Path], object]


def halves(left: Any, right: Any, mode: str = "RGB", side: int = 16) -> Image.Image:
    image = Image.new(mode, (side, side), left)
    image.paste(right, (side // 2, 0, side, side))
    return image


def array(left: float, right: float, kind: Any) -> Image.Image:
    values = np.full((16, 16), left, dtype=kind)
    values[:, 8:] = right
    return Image.fromarray(values)


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_and_green_swapped() -> bytes:
    found = srgb().replace(b"rXYZ", b"tmp_").replace(b"gXYZ", b"rXYZ")
    return found.replace(b"tmp_", b"gXYZ")


def profile(channels: bytes, tags: dict[bytes, bytes], space: bytes) -> bytes:
    """An ICC profile, version 2, of a printer or a scanner."""
    place, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(
        ">I4sI4s4s4s", 128 + len(body), b"lcms", 0x02400000, b"prtr", channels, space
    )
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    return head + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D) + bytes(48) + body


def linear_grey() -> bytes:
    white = b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return profile(b"GRAY", {b"wtpt": white, b"kTRC": b"curv" + bytes(8)}, b"XYZ ")


def inks(cyan: tuple[int, int, int]) -> bytes:
    """Of a press whose cyan is another colour, in Lab; all that has other ink is black."""
    grid = np.zeros((2, 2, 2, 2, 3), dtype=np.uint8)
    grid[..., 1:] = 128
    grid[0, 0, 0, 0], grid[1, 0, 0, 0] = (255, 128, 128), cyan
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + bytes(range(256)) * 4
    return profile(b"CMYK", {b"A2B0": lut + grid.tobytes() + bytes(range(256)) * 3}, b"Lab ")


def saved(image: Image.Image, **options: Any) -> Make:
    return lambda path: image.save(path, **options)


def animated(path: Path) -> None:
    halves(RED, BLUE).save(path, save_all=True, append_images=[halves(GREEN, GREEN)], lossless=True)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def patched(image: Image.Image, tag: int, value: int, **options: Any) -> Make:
    """A TIFF that says `value` in one of its tags of 16 bits."""

    def make(path: Path) -> None:
        image.save(path, **options)
        content = path.read_bytes()
        old = struct.pack("<HHI", tag, 3, 1)
        at = content.index(old) + len(old)
        path.write_bytes(content[:at] + struct.pack("<H", value) + content[at + 2 :])

    return make


def png(width: int, bits: int, colour: int, rows: bytes, **chunks: bytes) -> Make:
    """What Pillow cannot write: 16 bits a channel, and what is transparent there."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    size = struct.pack(">IIBBBBB", width, width, bits, colour, 0, 0, 0)
    body = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    whole = chunk(b"IHDR", size) + body + chunk(b"IDAT", zlib.compress((b"\0" + rows) * width))
    return lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole + chunk(b"IEND", b""))


def deep(*left_then_right: tuple[int, ...]) -> bytes:
    """A row of 8 pixels of 16 bits a channel."""
    left, right = (struct.pack(f">{len(pixel)}H", *pixel) for pixel in left_then_right)
    return left * 4 + right * 4


PALETTE = halves(RED, BLUE).quantize(4)
SHOWN: dict[str, tuple[Make, Colour, Colour]] = {
    "plain.jpg": (saved(halves(RED, BLUE), quality=95), (254, 0, 0), (0, 0, 254)),
    "grey.jpg": (saved(halves(0, 255, "L")), BLACK, WHITE),
    "cmyk.jpg": (saved(halves((0, 255, 255, 0), (0, 0, 0, 255), "CMYK"), quality=95), RED, BLACK),
    "cmyk-with-profile.jpg": (
        saved(halves((255, 0, 0, 0), (0, 0, 0, 0), "CMYK"), quality=95,
              icc_profile=inks((138, 209, 198))),
        (254, 0, 0), WHITE,
    ),
    "cmyk.tif": (saved(halves((0, 255, 255, 0), (0, 0, 0, 255), "CMYK")), RED, BLACK),
    "srgb.jpg": (
        saved(halves(RED, BLUE), quality=95, icc_profile=srgb()), (254, 0, 0), (0, 0, 254)
    ),
    "other-profile.jpg": (
        saved(halves(RED, BLUE), quality=95, icc_profile=red_and_green_swapped()), GREEN, BLUE
    ),
    "other-profile.png": (
        saved(halves(RED, BLUE), icc_profile=red_and_green_swapped()), GREEN, BLUE
    ),
    "palette-with-profile.png": (saved(PALETTE, icc_profile=red_and_green_swapped()), GREEN, BLUE),
    "alpha-with-profile.png": (
        saved(halves((*RED, 255), (*RED, 0), "RGBA"), icc_profile=red_and_green_swapped()),
        GREEN, WHITE,
    ),
    "grey-profile.png": (saved(halves(55, 255, "L"), icc_profile=linear_grey()), GREY, WHITE),
    "broken-profile.png": (saved(halves(RED, BLUE), icc_profile=b"no profile"), RED, BLUE),
    "profile-of-other-channels.png": (saved(halves(0, 255, "L"), icc_profile=srgb()), BLACK, WHITE),
    "alpha.png": (saved(halves((*RED, 255), (*BLUE, 0), "RGBA")), RED, WHITE),
    "half-alpha.png": (saved(halves((*RED, 255), (0, 0, 0, 127), "RGBA")), RED, GREY),
    "alpha.webp": (saved(halves((*RED, 255), (*BLUE, 0), "RGBA"), lossless=True), RED, WHITE),
    "alpha.tif": (saved(halves((*RED, 255), (*BLUE, 0), "RGBA")), RED, WHITE),
    "grey-alpha.png": (saved(halves((0, 255), (0, 0), "LA")), BLACK, WHITE),
    "palette.png": (saved(PALETTE), RED, BLUE),
    "transparent-palette.png": (
        saved(PALETTE, transparency=PALETTE.getpixel((15, 0))), RED, WHITE
    ),
    "transparent-palette.gif": (
        saved(PALETTE, transparency=PALETTE.getpixel((15, 0))), RED, WHITE
    ),
    "transparent-colour.png": (saved(halves(RED, BLUE), transparency=BLUE), RED, WHITE),
    "transparent-grey.png": (saved(halves(0, 100, "L"), transparency=100), BLACK, WHITE),
    "one-bit.png": (saved(halves(0, 1, "1")), BLACK, WHITE),
    "one-bit.tif": (saved(halves(0, 1, "1"), compression="group4"), BLACK, WHITE),
    "grey-16.png": (saved(array(0, 32896, np.uint16)), BLACK, GREY),
    "rgb-16.png": (png(8, 16, 2, deep((65535, 0, 0), (0, 0, 32896))), RED, (0, 0, 128)),
    "rgba-16.png": (png(8, 16, 6, deep((65535, 0, 0, 65535), (0, 0, 0, 0))), RED, WHITE),
    "transparent-grey-16.png": (
        png(8, 16, 0, deep((32896,), (500,)), tRNS=struct.pack(">H", 500)), GREY, WHITE
    ),
    "transparent-colour-16.png": (
        png(8, 16, 2, deep((65535, 0, 0), (9000, 9000, 0)), tRNS=struct.pack(">3H", 9000, 9000, 0)),
        RED, WHITE,
    ),
    "grey-16.tif": (saved(array(0, 32896, np.uint16)), BLACK, GREY),
    "grey-16-big-endian.tif": (saved(array(0, 32896, ">u2")), BLACK, GREY),
    "grey-16-inverse.tif": (patched(array(0, 32896, np.uint16), 262, 0), WHITE, (127, 127, 127)),
    "grey-inverse.tif": (patched(halves(0, 100, "L"), 262, 0), WHITE, (155, 155, 155)),
    "grey-16.pgm": (saved(array(0, 32896, np.uint16)), BLACK, GREY),
    "float.tif": (saved(array(0, 0.5, np.float32)), BLACK, GREY),
    "turned.jpg": (saved(halves(RED, BLUE), quality=95, exif=turned(3)), (0, 0, 254), (254, 0, 0)),
    "turned.png": (saved(halves(RED, BLUE), exif=turned(2)), BLUE, RED),
    "turned.webp": (saved(halves(RED, BLUE), exif=turned(3), lossless=True), BLUE, RED),
    "turned.tif": (saved(halves(RED, BLUE), exif=turned(3)), BLUE, RED),
    "turned-16.tif": (saved(array(0, 32896, np.uint16), exif=turned(3)), GREY, BLACK),
    "turned-16.png": (saved(array(0, 32896, np.uint16), exif=turned(3)), GREY, BLACK),
    "animated.gif": (animated, RED, BLUE),
    "animated.webp": (animated, RED, BLUE),
    "animated.png": (animated, RED, BLUE),
    "pages.tif": (lambda path: halves(RED, BLUE).save(
        path, save_all=True, append_images=[halves(GREEN, GREEN)]), RED, BLUE),
    "two.mpo": (lambda path: halves(RED, BLUE).save(
        path, save_all=True, append_images=[halves(GREEN, GREEN)], quality=95),
        (254, 0, 0), (0, 0, 254)),
}  # fmt: skip
REFUSED: dict[str, tuple[Make, str]] = {
    "whole-32.tif": (
        saved(array(0, 200, np.int32)),
        "32-bit and signed pixels have no known range",
    ),
    "signed-16.tif": (
        patched(array(0, 200, np.uint16), 339, 2, tiffinfo={339: 1}),
        "have no known range",
    ),
    "float-255.tif": (saved(array(0, 255, np.float32)), "pixels of 0 to 255 have no known range"),
    "float-nan.tif": (saved(array(0, np.nan, np.float32)), "have no known range"),
    "text.jpg": (lambda path: path.write_text("no picture"), "of no format that is known"),
    "empty.png": (lambda path: path.touch(), "of no format that is known"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_file_becomes_what_a_viewer_shows(tmp_path: Path, name: str) -> None:
    make, left, right = SHOWN[name]
    make(tmp_path / name)
    pixels = read_image(tmp_path / name, Reading(8)).astype(int)
    found = pixels[:, :2].mean((0, 1)), pixels[:, -2:].mean((0, 1))
    assert np.abs(np.array(found) - [left, right]).max() <= 3, found


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_does_not_say_what_it_shows_is_refused(tmp_path: Path, name: str) -> None:
    make, reason = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: not a readable image .*{reason}"):
        read_image(tmp_path / name, Reading(8))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "gif", "ppm"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path, Reading(8))


@pytest.mark.parametrize(
    ("background", "shown"), [("white", WHITE), ("black", BLACK), ("#0000ff", BLUE)]
)
def test_the_background_is_what_was_set(tmp_path: Path, background: str, shown: Colour) -> None:
    Image.new("RGBA", (9, 9), (*RED, 0)).save(tmp_path / "x.png")
    pixels = read_image(tmp_path / "x.png", Reading(8, background=background))
    assert (pixels == shown).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(("width", "height"), [(48, 16), (16, 48), (24, 24), (200, 1)])
def test_each_fit_does_with_the_sides_what_it_says(
    tmp_path: Path, suffix: str, width: int, height: int
) -> None:
    """Pictures are black at both ends of their longer side, and grey between."""
    values = np.full((height, width), 128, dtype=np.uint8)
    n = max(width, height) // 6
    for edge in (slice(None, n), slice(-n, None)):
        values[(slice(None), edge) if width >= height else edge] = 0
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(values).convert("RGB").save(path, quality=95)

    def line(fit: Any, across: bool = False) -> list[int]:
        square = read_image(path, Reading(16, fit=fit, background="white"))[..., 0].astype(int)
        square = square if (width >= height) is not across else square.T
        return [int(v) for v in square[7]]

    is_square = width == height
    assert (min(line("crop")) > 110) is not is_square  # the ends are gone
    for fit in ("squeeze", "pad"):
        assert max(line(fit)[0], line(fit)[-1]) < 70
    assert (line("pad", across=True)[0] > 250) is not is_square
    assert max(line("squeeze", across=True)) < 150


def test_a_large_jpeg_is_padded_and_squeezed_like_any_other(tmp_path: Path) -> None:
    tall = np.random.default_rng(0).integers(0, 256, (9, 6, 3), dtype=np.uint8)
    image = Image.fromarray(tall).resize((200, 300), Image.Resampling.BICUBIC)
    image.save(tmp_path / "x.jpg", quality=95)
    image.save(tmp_path / "x.png")
    for fit in ("crop", "squeeze", "pad"):
        reading: Any = Reading(32, fit)
        a, b = (read_image(tmp_path / f"x.{kind}", reading).astype(int) for kind in ("jpg", "png"))
        assert np.abs(a - b).mean() < 4


def test_it_is_known_what_had_to_be_decided_to_show_a_picture(tmp_path: Path) -> None:
    pictures = {
        "opaque.png": halves((*RED, 255), (*BLUE, 255), "RGBA"),
        "clear.png": halves((*RED, 255), (*BLUE, 254), "RGBA"),
        "plain.png": halves(RED, BLUE),
    }
    for name, image in pictures.items():
        image.save(tmp_path / name)
    animated(tmp_path / "moving.gif")
    found = {p.name: read_picture(p, Reading(8)) for p in sorted(tmp_path.iterdir())}
    assert [name for name, picture in found.items() if picture.is_transparent] == ["clear.png"]
    assert [name for name, picture in found.items() if picture.is_animated] == ["moving.gif"]


def test_a_profile_that_is_srgb_costs_no_conversion(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    image.save(tmp_path / "with.png", icc_profile=srgb())
    image.save(tmp_path / "without.png")
    a, b = (read_image(tmp_path / f"{name}.png", Reading(16)) for name in ("with", "without"))
    assert np.array_equal(a, b)
