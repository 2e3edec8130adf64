"""The gallery: embeddings of known images, among which neighbours are looked for.

New images, of known classes or of new ones, are added to it without training.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.parsing import UserError, one_line

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float16]


GALLERY, HELD_OUT = "gallery.npz", "held-out.npz"
"""Files: of training images, and of val."""


@dataclass(frozen=True)
class Gallery:
    """N images by their embeddings."""

    embeddings: Floats
    """(N, D) encoder features, not normalised."""
    labels: npt.NDArray[np.int64]
    """(N,), an index into the gallery's classes."""
    names: npt.NDArray[np.str_]
    """(N,) paths from their root."""
    roots: npt.NDArray[np.int64]
    """(N,), an index into the manifest's roots."""
    is_added: npt.NDArray[np.bool_]
    """(N,) those that came after training: the encoder was not trained on them."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: npt.NDArray[np.bool_]) -> Gallery:
        """The images of a mask."""
        return Gallery(*(getattr(self, field)[chosen] for field in _FIELDS))

    def with_more(self, more: Gallery) -> Gallery:
        """These and others."""
        both = {
            field: np.concatenate([getattr(self, field), getattr(more, field)]) for field in _FIELDS
        }
        both["embeddings"] = both["embeddings"].astype(self.embeddings.dtype)
        return Gallery(**both)

    def in_half(self) -> Gallery:
        """In fp16: half the size; cosines change by less than 0.001."""
        return replace(self, embeddings=self.embeddings.astype(np.float16))

    def where(self, places: npt.NDArray[np.int64], roots: tuple[str, ...]) -> list[str]:
        """Paths of the images at some places, as text."""
        known = zip(self.roots[places].tolist(), self.names[places].tolist(), strict=True)
        return [os.path.join(roots[root], name) for root, name in known]

    def path(self, place: int, roots: tuple[str, ...]) -> Path:
        """Where an image was."""
        return Path(*self.where(np.array([place]), roots))

    @classmethod
    def empty(cls, dim: int) -> Gallery:
        """Without images; embeddings would be of length `dim`."""
        names, no = np.zeros(0, dtype=np.str_), np.zeros(0, dtype=np.int64)
        return cls(np.zeros((0, dim), dtype=np.float32), no, names, no, no.astype(np.bool_))

    def save(self, path: Path) -> None:
        """Write it as .npz; beside it there is one with the suffix .partial meanwhile.

        Raises:
            UserError: it cannot be written.
        """
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, **{field: getattr(self, field) for field in _FIELDS})
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """What `save` wrote; nothing is unpickled.

        Raises:
            UserError: the file is damaged, or no gallery.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = cls(**{field: file[field] for field in _FIELDS})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{path}: damaged, or no gallery ({one_line(error)})") from None
        if problem := found._problem():
            raise UserError(f"{path}: no gallery of this program ({problem})")
        return found

    def _problem(self) -> str | None:
        if self.embeddings.ndim != 2 or self.embeddings.dtype not in (np.float32, np.float16):
            return f"embeddings {self.embeddings.dtype} of shape {self.embeddings.shape}"
        for field, kind in _FIELDS.items():
            array = getattr(self, field)
            if len(array) != len(self.embeddings) or array.dtype.kind != kind:
                return f"{field} {array.dtype} of shape {array.shape}"
        return None


_FIELDS = {"embeddings": "f", "labels": "i", "names": "U", "roots": "i", "is_added": "b"}
"""Fields and the kinds of their values."""
