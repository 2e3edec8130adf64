"""Which images a command is to look at: files, folders, a list on standard input, a CSV."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from supcon.listing.listing import HIDDEN, LOOP, NO_IMAGE, LeftOut
from supcon.listing.names import image_suffixes, is_foreign, suffix_of
from supcon.parsing import UserError, nearest

STDIN = Path("-")
TABLES = (".csv", ".tsv")


class Inputs:
    """Paths of images in the order in which they were named, found as they are asked for.

    A folder stands for the images below it by name; what it holds besides is counted, not looked
    at. A file that was named itself is looked at whatever it is. Nothing is kept but the names of
    one folder at a time.
    """

    def __init__(
        self, named: Sequence[Path], stdin: TextIO | None = None, column: str = "path"
    ) -> None:
        """`named` was typed; `-` is `stdin`, a path a line; `column` is that of a CSV's paths.

        Raises:
            UserError: nothing was named, or a table has no such column.
        """
        if not named:
            raise UserError("PATH: name images, folders, a .csv, or - for a list on standard input")
        self.counts: Counter[tuple[str, str]] = Counter()
        self._seen: set[tuple[int, int]] = set()
        self._sources = [self._of(path, stdin, column) for path in named]

    def __iter__(self) -> Iterator[Path]:
        return chain.from_iterable(self._sources)

    @property
    def left_out(self) -> LeftOut:
        """What was passed over so far."""
        return LeftOut(dict(self.counts))

    def _of(self, path: Path, stdin: TextIO | None, column: str) -> Iterable[Path]:
        if path == STDIN and stdin is not None:
            return (Path(line) for text in stdin if (line := text.rstrip("\r\n")))
        if path.suffix.lower() in TABLES and path.is_file():
            return _rows(path, column)
        return self._below(path) if path.is_dir() else [path]

    def _below(self, folder: Path) -> Iterator[Path]:
        if self._is_listed(folder):
            self.counts[LOOP, "folder"] += 1
            return
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({error.strerror})") from None
        for name in names:
            path = folder / name
            if is_foreign(name):
                self.counts[HIDDEN, suffix_of(name)] += 1
            elif path.is_dir():
                yield from self._below(path)
            elif suffix_of(name) in image_suffixes():
                yield path
            else:
                self.counts[NO_IMAGE, suffix_of(name)] += 1

    def _is_listed(self, folder: Path) -> bool:
        """Links may lead to where one was."""
        status = folder.stat()
        place = status.st_dev, status.st_ino
        if place in self._seen:
            return True
        self._seen.add(place)
        return False


def _rows(file: Path, column: str) -> Iterator[Path]:
    """Paths of a table, which start at its folder; its header is read at once."""
    try:
        lines = file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    header = lines.readline()
    delimiter = max(",;\t", key=header.count)
    columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if column not in columns:
        lines.close()
        raise UserError(
            f"{file}: has no column '{column}'{nearest(column, columns)} (columns: "
            f"{', '.join(columns):.300}); name it with --column"
        )
    return _column(file, lines, delimiter, columns.index(column), len(columns))


def _column(file: Path, lines: TextIO, delimiter: str, place: int, width: int) -> Iterator[Path]:
    with lines:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), start=2):
            if row and len(row) != width:
                raise UserError(
                    f"{file}: row {number} has {len(row)} columns instead of {width}; quote what "
                    f"holds a '{delimiter}'"
                )
            if row:
                yield file.parent / row[place]
