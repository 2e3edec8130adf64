"""Marks of files that were marked before, by path, size and time of change.

A file for each folder of images, under the user's cache folder (`XDG_CACHE_HOME`, or ~/.cache).
Without it all is read again: what cannot be read or written there costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.audit.marks import MARK, Marks
from supcon.images.files import ImageFiles
from supcon.machine import cache_folder
from supcon.parsing import UserError

VERSION = 1  # of what marks mean: another one reads all files again

Stamps = npt.NDArray[np.int64]


def stamps_of(files: ImageFiles) -> Stamps:
    """(N, 2) size in bytes and time of change in nanoseconds.

    Raises:
        UserError: a file cannot be read.
    """
    stamps = np.empty((len(files), 2), dtype=np.int64)
    for i, path in enumerate(files.paths()):
        try:
            found = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); repair it") from None
        stamps[i] = found.st_size, found.st_mtime_ns
    return stamps


def read_cache(files: ImageFiles, stamps: Stamps) -> tuple[npt.NDArray[np.bool_], Marks]:
    """(N,) which of the files are as they were when they were marked, and (N,) those marks."""
    is_known, marks = np.zeros(len(files), dtype=bool), np.zeros(len(files), MARK)
    old = _load(files)
    if len(old) and len(files):
        order = np.argsort(old["name"], kind="stable")
        names = old["name"][order]
        at = np.searchsorted(names, files.names).clip(max=len(names) - 1)
        is_known = (names[at] == files.names) & (old["stamp"][order][at] == stamps).all(1)
        marks[is_known] = old["mark"][order][at][is_known]
    return is_known, marks


def write_cache(files: ImageFiles, stamps: Stamps, marks: Marks) -> None:
    """Remember them, beside those of other files in the same folder."""
    old = _load(files)
    others = old[~np.isin(old["name"], files.names)]
    width = max(files.names.dtype.itemsize, others["name"].dtype.itemsize)
    rows = np.zeros(len(files), _row(width))
    rows["name"], rows["stamp"], rows["mark"] = files.names, stamps, marks
    place = _place(files)
    new = place.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            np.save(file, np.concatenate([rows, others.astype(rows.dtype)]), allow_pickle=False)
        new.replace(place)


def _load(files: ImageFiles) -> npt.NDArray[np.void]:
    """All that is remembered of a folder."""
    with suppress(OSError, ValueError, EOFError):
        rows = np.load(_place(files), allow_pickle=False)
        if rows.ndim == 1 and rows.dtype.names and rows.dtype == _row(rows.dtype["name"].itemsize):
            return rows
    return np.zeros(0, _row(1))


def _row(width: int) -> np.dtype[np.void]:
    return np.dtype([("name", f"S{width}"), ("stamp", "<i8", 2), ("mark", MARK)])


def _place(files: ImageFiles) -> Path:
    name = hashlib.blake2b(
        f"{VERSION} {files.root} {files.reading}".encode(errors="surrogateescape")
    )
    return cache_folder("marks") / f"{name.hexdigest()[:32]}.npy"
