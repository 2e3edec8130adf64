"""The images under some folders: each real folder is looked at once, whatever links lead to it."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from supcon.listing.listing import HIDDEN, NO_IMAGE, LeftOut
from supcon.listing.names import image_suffixes, is_foreign, suffix_of
from supcon.parsing import UserError

Identity = tuple[int, int]
"""Device and inode of a folder."""


class Walk:
    """Looks for images under the folders of classes, and keeps count of what it leaves out."""

    def __init__(self, root: Path, key: str = "data.root") -> None:
        """`root` holds all of them; what lies above it is never walked through. `key` named it."""
        self.root, self.key = root, key
        self.seen: dict[Identity, Path] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.passed_over: list[str] = []
        self.loops: list[str] = []
        self.seen[self._identity(root)] = root
        for place in root.resolve().parents:
            self.seen.setdefault(self._identity(place), place)

    def images(self, folders: Sequence[Path]) -> list[list[str]]:
        """Images under each of the folders, relative to it and in order.

        Links are followed after all real folders: what is under a class's own name is of that
        class, and a link to it from another one is a loop.

        Raises:
            UserError: two of the folders are one, or one cannot be read.
        """
        for place in {folder.parent for folder in folders}:
            self.seen.setdefault(self._identity(place), place)
        for folder in folders:
            other = self.seen.setdefault(self._identity(folder), folder)
            if other != folder:
                raise UserError(
                    f"{folder}: is the same folder as {other}, and its images would be there "
                    f"twice; remove the link"
                )
        found: list[list[tuple[str, ...]]] = [[] for _ in folders]
        links: deque[tuple[int, tuple[str, ...]]] = deque()
        for i, folder in enumerate(folders):
            found[i] += self._below(folder, (), i, links)
        while links:
            i, under = links.popleft()
            place = folders[i].joinpath(*under)
            if self._is_new(place):
                found[i] += self._below(folders[i], under, i, links)
        return [["/".join(parts) for parts in sorted(each)] for each in found]

    @property
    def left_out(self) -> LeftOut:
        """What was passed over so far."""
        return LeftOut(dict(self.counts), tuple(self.passed_over), tuple(self.loops))

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What lies in a folder, in order, without what other programs left there.

        Raises:
            UserError: it cannot be read.
        """
        kept = []
        for entry in self._scan(folder):
            if not is_foreign(entry.name):
                kept.append(entry)
            elif entry.is_dir():
                self.passed_over.append(self.name(Path(entry.path)))
            else:
                self.counts[HIDDEN, suffix_of(entry.name)] += 1
        return kept

    def name(self, place: Path) -> str:
        """A place as it is called under the root, or whole if it is not there."""
        return os.path.relpath(place, self.root) if place.is_relative_to(self.root) else str(place)

    def _below(
        self, top: Path, under: tuple[str, ...], i: int, links: deque[tuple[int, tuple[str, ...]]]
    ) -> list[tuple[str, ...]]:
        """Images under a folder as parts of their names from `top`; links are put off."""
        images, waiting = [], [under]
        while waiting:
            here = waiting.pop()
            for entry in self.entries(top.joinpath(*here)):
                inner = (*here, entry.name)
                if not entry.is_dir():
                    if suffix_of(entry.name) in image_suffixes():
                        images.append(inner)
                    else:
                        self.counts[NO_IMAGE, suffix_of(entry.name)] += 1
                elif entry.is_symlink():
                    links.append((i, inner))
                elif self._is_new(Path(entry.path)):
                    waiting.append(inner)
        return images

    def _is_new(self, place: Path) -> bool:
        other = self.seen.setdefault(self._identity(place), place)
        if other == place:
            return True
        self.loops.append(f"{self.name(place)} -> {self.name(other)}")
        return False

    def _scan(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"data.root: {folder} is missing; a folder data set has train/<class>/*.jpg and "
                f"test/<class>/*.jpg (and optionally val/), or <class>/*.jpg alone, under data.root"
            ) from None
        except OSError as error:  # no permission; a name that is too long
            raise UserError(f"{self.key}: {folder} cannot be read ({error.strerror})") from None

    def _identity(self, folder: Path) -> Identity:
        try:
            status = os.stat(folder)
        except OSError:
            self._scan(folder)  # says what is wrong with it
            raise
        return status.st_dev, status.st_ino
