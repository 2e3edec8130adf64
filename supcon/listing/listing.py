"""The table of images that every way in comes to: where each lies, its class, part and group."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from supcon.parsing import UserError

SHOWN = 10  # names that a line or a message holds at most

NO_IMAGE = "no image by its suffix"
LOOSE = "beside the class folders"
HIDDEN = "hidden, or another program's"
UNASSIGNED = "without a split"
LOOP = "links to what is listed already"


@dataclass(frozen=True)
class LeftOut:
    """What lies among the images and is not used, and why."""

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Files by reason and suffix."""
    passed_over: tuple[str, ...] = ()
    """Folders of other programs, and those that are no part, under the root."""
    loops: tuple[str, ...] = ()
    """Links to folders that are listed already, with what they point to."""
    broken: tuple[str, ...] = ()
    """Files that cannot be read, where `data.broken` is skip."""

    def describe(self) -> list[str]:
        """A phrase for each reason, for a person; none if nothing was left out."""
        by_reason: dict[str, list[str]] = {}
        for (reason, suffix), n in sorted(self.counts.items()):
            by_reason.setdefault(reason, []).append(f"{n:,} {suffix or 'without a suffix'}")
        phrases = [f"{', '.join(found)} ({reason})" for reason, found in by_reason.items()]
        named = (
            ("folders passed over", self.passed_over),
            (LOOP, self.loops),
            ("broken files", self.broken),
        )
        return phrases + [
            f"{what} ({len(names):,}): {some(names)}" for what, names in named if names
        ]


NOTHING = LeftOut()


def some(names: tuple[str, ...] | list[str], shown: int = SHOWN) -> str:
    """The first names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")


class Reader(Protocol):
    """Reads what a path stands for."""

    def read(self, path: Path) -> bytes:
        """The content; an OSError if it cannot be read."""
        ...

    def length(self, path: Path) -> int:
        """Its bytes."""
        ...


class FileReader:
    """Reads files."""

    def read(self, path: Path) -> bytes:
        """Likewise."""
        return path.read_bytes()

    def length(self, path: Path) -> int:
        """Likewise."""
        return path.stat().st_size


FILES = FileReader()


@dataclass(frozen=True)
class Listing:
    """Images that were found, none of them decoded."""

    root: Path
    """What `names` are relative to."""
    names: npt.NDArray[np.bytes_]
    """(N,) paths, encoded as the file system does."""
    labels: npt.NDArray[np.int64]
    """(N,), an index into `classes` and, beyond these, `held_out`."""
    classes: tuple[str, ...]
    parts: npt.NDArray[np.str_]
    """(N,) train, val, test or unknown; empty where none is given, or the image is not used."""
    groups: npt.NDArray[np.int64] | None = None
    """(N,), an index into `group_names`: images of a group are never on two sides of a split."""
    group_names: tuple[str, ...] = ()
    left_out: LeftOut = NOTHING
    folders: Mapping[str, str] = field(default_factory=dict)
    """Part -> the folder under `root` that holds all of it, where it has one."""
    reader: Reader = FILES
    """What reads the images."""
    held_out: tuple[str, ...] = ()
    """Classes whose images are unknown, or not used."""

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> Path:
        """Where image `i` is."""
        return self.root / os.fsdecode(self.names[i])

    def is_at(self, paths: Collection[str]) -> npt.NDArray[np.bool_]:
        """(N,) which images lie at one of the paths."""
        if not paths:
            return np.zeros(len(self), dtype=np.bool_)
        wanted = set(paths)
        return np.array([str(self.path(i)) in wanted for i in range(len(self))])

    def counts(self) -> list[dict[str, int]]:
        """Images of each class by part."""
        return [
            dict(Counter(self.parts[self.labels == label].tolist()))
            for label in range(len(self.classes))
        ]

    def write(self, file: Path) -> None:
        """Which image went where, as a CSV that `data.name: table` reads back.

        Args:
            file: to write. Columns path (absolute), label, split (empty: not used), group.

        Raises:
            UserError: it cannot be written.
        """
        groups = self.groups if self.groups is not None else np.full(len(self), -1)
        labels, names = (*self.classes, *self.held_out), (*self.group_names, "")
        try:
            with file.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
                rows = csv.writer(out, lineterminator="\n")
                rows.writerow(["path", "label", "split", "group"])
                for i, part in enumerate(self.parts.tolist()):
                    label, group = labels[self.labels[i]], names[groups[i]]
                    rows.writerow([self.path(i), label, part, group])
        except OSError as error:
            raise UserError(f"{file}: cannot be written ({error.strerror})") from None
