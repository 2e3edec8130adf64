"""Indexes of galleries that were built on this machine, kept so that they are built once.

They are no part of a bundle: native code reads them, and it should read what this machine wrote.
They lie in the user's cache folder (`XDG_CACHE_HOME`, or ~/.cache). The name of each holds a hash
of what it was built from and one of its own bytes, which are compared before it is read.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from supcon.machine import cache_folder

KEPT = 4  # indexes; those that were used longest ago go
LENGTH = 32  # characters of a hash


def kept_index(key: str, build: Callable[[], Any]) -> Any:
    """The index that was kept under a key, or a new one, which is kept.

    A file that is damaged is built anew. Where nothing can be kept a line on standard error says
    so: it costs time, and nothing else.

    Args:
        key: a hash of all that the index depends on.
        build: makes it.
    """
    folder = cache_folder("indexes")
    found = _read(folder, key[:LENGTH])
    if found is not None:
        return found
    index = build()
    try:
        _write(folder, key[:LENGTH], index)
    except (OSError, RuntimeError) as error:  # the latter is that of native code
        print(f"{folder}: cannot keep an index for the next time ({error})", file=sys.stderr)
    return index


def _read(folder: Path, key: str) -> Any | None:
    import faiss

    for path in folder.glob(f"{key}-*.faiss"):
        with suppress(OSError, RuntimeError):
            if _hash(path) == path.stem.partition("-")[2]:
                os.utime(path)
                return faiss.read_index(str(path))
            path.unlink()
    return None


def _write(folder: Path, key: str, index: Any) -> None:
    """Write it whole or not at all; it takes the place of the one that was used longest ago."""
    import faiss

    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{key}.{os.getpid()}"
    try:
        faiss.write_index(index, str(partial))
        partial.replace(folder / f"{key}-{_hash(partial)}.faiss")
    finally:
        partial.unlink(missing_ok=True)
    by_use = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in by_use[KEPT:]:  # also what was left of a process that was killed
        path.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:LENGTH]
