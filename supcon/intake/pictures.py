"""Images in any form -> what the encoder takes: files, PIL images, arrays, tensors."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from supcon.images.decoding import Picture, Pixels, Reading, read_picture, show_picture
from supcon.parsing import Section, UserError

OneImage = str | Path | Image.Image | npt.NDArray[np.uint8] | Tensor
"""A file; a picture; (H, W), (H, W, 1) or (H, W, 3) uint8; a tensor (1 or 3, H, W) uint8."""
AnyImages = OneImage | Sequence[OneImage]
"""One or several; also an array (N, H, W, C) or a tensor (N, C, H, W)."""


class Preprocessing(Section):
    """How a picture becomes what the encoder takes; its normalisation is in the encoder."""

    size: int = Field(ge=1, le=4096)
    """Side in pixels."""
    fit: Literal["crop", "squeeze", "pad"]
    """How pictures that are not square become square."""
    background: str = Field(pattern="^(white|black|#[0-9a-fA-F]{6})$")
    """What transparent pictures are laid on."""
    channels: Literal[1, 3]
    """1: grey."""

    @property
    def reading(self) -> Reading:
        """The same for the decoder."""
        return Reading(self.size, self.fit, self.background)


@dataclass(frozen=True)
class Block:
    """Some files that were decoded together, in their order."""

    paths: Sequence[Path]
    """(N,)."""
    pixels: Pixels
    """(M, S, S, C) of those that could be read."""
    places: npt.NDArray[np.intp]
    """(M,) of these among the files."""
    notes: dict[int, str]
    """Place -> what had to be decided to show it."""
    errors: dict[int, str]
    """Place -> why it could not be read."""


def decoded(
    paths: Iterable[Path], preprocessing: Preprocessing, *, size: int, ahead: int = 0
) -> Iterator[Block]:
    """Files in blocks, decoded by as many threads as torch uses.

    Args:
        paths: of files; asked for as they are needed.
        preprocessing: how they become squares.
        size: files in a block.
        ahead: blocks that are decoded while others are used. 0 where the same cores compute:
            torch's threads and these would wait for each other.
    """
    # What is too large is refused by name; what is merely large is not worth a warning.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    remaining, threads = iter(paths), torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[list[Path], list[Future[list[Picture | str]]]]] = deque()
        while block := list(islice(remaining, size)):
            shares = [block[first::threads] for first in range(threads)]
            waiting.append((block, [pool.submit(_read, s, preprocessing) for s in shares]))
            if len(waiting) > ahead:
                yield _collected(*waiting.popleft(), preprocessing)
        while waiting:
            yield _collected(*waiting.popleft(), preprocessing)


def _read(paths: list[Path], preprocessing: Preprocessing) -> list[Picture | str]:
    found: list[Picture | str] = []
    for path in paths:
        try:
            picture = read_picture(path, preprocessing.reading)
            found.append(picture._replace(pixels=_channels(picture.pixels, preprocessing)))
        except UserError as error:
            found.append(str(error).removeprefix(f"{path}: "))
        except MemoryError:
            found.append("not a readable image (too large for the memory); make it smaller")
    return found


def _collected(
    paths: list[Path], shares: list[Future[list[Picture | str]]], preprocessing: Preprocessing
) -> Block:
    found: list[Picture | str] = [""] * len(paths)
    for first, share in enumerate(shares):
        found[first :: len(shares)] = share.result()
    pictures = {i: each for i, each in enumerate(found) if isinstance(each, Picture)}
    size, channels = preprocessing.size, preprocessing.channels
    pixels = np.empty((len(pictures), size, size, channels), dtype=np.uint8)
    for row, picture in enumerate(pictures.values()):
        pixels[row] = picture.pixels
    notes = {i: note for i, picture in pictures.items() if (note := _note(picture, preprocessing))}
    errors = {i: each for i, each in enumerate(found) if isinstance(each, str)}
    return Block(paths, pixels, np.array([*pictures], dtype=np.intp), notes, errors)


def _note(picture: Picture, preprocessing: Preprocessing) -> str:
    decided = []
    if picture.is_animated:
        decided.append("the first of several pictures")
    if picture.is_transparent:
        decided.append(f"laid on {preprocessing.background}")
    return "; ".join(decided)


def as_pixels(images: AnyImages, preprocessing: Preprocessing) -> Pixels:
    """(N, S, S, C) uint8 of images in any form; a single one is N = 1.

    Raises:
        UserError: one cannot be read, or is no image.
    """
    several = _as_list(images)
    made = [_one(each, i, preprocessing) for i, each in enumerate(several)]
    shape = preprocessing.size, preprocessing.size, preprocessing.channels
    return np.stack(made) if made else np.empty((0, *shape), dtype=np.uint8)


def is_one(images: AnyImages) -> bool:
    """Whether it is a single image, and not a sequence of some."""
    if isinstance(images, (np.ndarray, Tensor)):
        return images.ndim < 4
    return isinstance(images, (str, Path, Image.Image))


def _as_list(images: AnyImages) -> Sequence[OneImage]:
    if is_one(images):
        return [images]  # type: ignore[list-item]
    return images  # type: ignore[return-value]  # arrays and tensors are read along their first axis


def _one(image: OneImage, place: int, preprocessing: Preprocessing) -> Pixels:
    match image:
        case str() | Path():
            pixels = read_picture(Path(image).expanduser(), preprocessing.reading).pixels
        case Image.Image():
            pixels = _shown(image, f"image {place}", preprocessing)
        case Tensor() | np.ndarray():
            pixels = _of_array(image, f"image {place}", preprocessing)
        case _:
            raise UserError(
                f"image {place}: must be a path, a PIL image, an array (H, W, C) or a tensor "
                f"(C, H, W), got {type(image).__name__}"
            )
    return _channels(pixels, preprocessing)


def _of_array(array: Tensor | Pixels, what: str, preprocessing: Preprocessing) -> Pixels:
    form = "(C, H, W)" if isinstance(array, Tensor) else "(H, W) or (H, W, C)"
    given = f"{array.dtype} {tuple(array.shape)}"
    if isinstance(array, Tensor):
        array = array.detach().cpu().permute(1, 2, 0).numpy() if array.ndim == 3 else array.numpy()
        is_right = array.ndim == 3
    else:
        array = array[..., None] if array.ndim == 2 else array
        is_right = array.ndim == 3
    if not is_right or array.dtype != np.uint8 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"{what}: must be uint8 of 0 to 255 and of shape {form} with 1 or 3 channels, got "
            f"{given}; scale it and convert it first"
        )
    flat = array[..., 0] if array.shape[2] == 1 else array
    return _shown(Image.fromarray(np.ascontiguousarray(flat)), what, preprocessing)


def _shown(image: Image.Image, what: str, preprocessing: Preprocessing) -> Pixels:
    with suppress(ValueError):
        return show_picture(image, preprocessing.reading).pixels
    raise UserError(f"{what}: a picture of mode {image.mode} does not say how bright it is")


def _channels(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    if preprocessing.channels == pixels.shape[2]:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
