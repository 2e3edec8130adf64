"""Arrays as text, in the lines of a log."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import numpy.typing as npt


def pack(bits: npt.NDArray[np.bool_]) -> str:
    """(N,) bool -> text; `unpack` is the reverse."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpack(text: str, n: int) -> npt.NDArray[np.bool_]:
    """The first `n` bits of what `pack` made."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n)
    return bits.astype(bool)


def pack_labels(labels: npt.NDArray[np.int64]) -> str:
    """(N,) class ids below 2**32 -> text; `unpack_labels` is the reverse."""
    return base64.b64encode(zlib.compress(labels.astype("<u4").tobytes())).decode()


def unpack_labels(text: str) -> npt.NDArray[np.int64]:
    """What `pack_labels` packed."""
    raw = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(raw, dtype="<u4").astype(np.int64)
