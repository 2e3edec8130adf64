"""Tables of images: a CSV or parquet file with a row for each, paths relative to the file."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.config import DataConfig
from supcon.listing.listing import UNASSIGNED, LeftOut, Listing, some
from supcon.listing.names import NONE, PART, PART_NAMES, UNKNOWN, check_class_names, suffix_of
from supcon.parsing import UserError, nearest

Columns = dict[str, list[str]]
"""Fields of all rows, by the name of their column."""

SPLITS = PART_NAMES | {UNKNOWN: UNKNOWN}
"""What the column of splits may hold, in any case."""

OPTIONAL = {"split_column": "split", "group_column": "group"}
"""Columns that need not be there under their default names."""


def list_table(file: Path, config: DataConfig) -> Listing:
    """All images of a table, in its order; classes are sorted by name.

    Where some are of split `unknown`, classes are those of images with another split; what the
    others are called means nothing, and may be empty.

    Args:
        file: ends in .csv, .tsv or .parquet.
        config: names of the columns.

    Raises:
        UserError: the table cannot be read; all that is wrong with it, a line each.
    """
    columns = _read(file, _wanted(config))
    paths = [path.strip() for path in columns[config.path_column]]
    labels = [_name(label) for label in columns[config.label_column]]
    parts = [part.strip() for part in columns.get(config.split_column or "", [])]
    groups = [_name(group) for group in columns.get(config.group_column or "", [])]
    groups = groups if any(groups) else []  # a column that is all empty is none
    given = [SPLITS.get(part.lower(), NONE) for part in parts]
    has_split = any(given)
    given = given if has_split else [NONE] * len(paths)
    known = _known(labels, given)
    problems = [
        _empty("path", paths),
        _empty("label", _needed(labels, given)),
        _empty("group", groups),
        _misnamed(config.split_column, parts),
        _both(labels, given, known),
        _twice(paths),
        _missing(file.parent, paths),
    ]
    if found := [f"{file}: {problem}" for problem in problems if problem]:
        raise UserError("\n".join(found))
    group_names = tuple(sorted(set(groups)))
    classes, held_out = sorted(known), sorted({*labels} - known)
    check_class_names(file, [*classes, *filter(None, held_out)])
    if len(classes) < 2:
        where = " among rows of split train, val or test" if UNKNOWN in given else ""
        raise UserError(f"{file}: at least 2 classes are needed{where}, got {len(classes)}")
    lost = Counter(
        (UNASSIGNED, suffix_of(path))
        for path, part in zip(paths, given, strict=True)
        if has_split and part == NONE
    )
    return Listing(
        file.parent,
        np.array([os.fsencode(path) for path in paths], dtype=np.bytes_),
        _places(labels, [*classes, *held_out]),
        tuple(classes),
        np.array(given, dtype=PART),
        _places(groups, group_names) if groups else None,
        group_names,
        LeftOut(lost),
        held_out=tuple(held_out),
    )


def _known(labels: list[str], given: list[str]) -> set[str]:
    """Labels that are classes: all, or those of images that are neither unknown nor unused."""
    if UNKNOWN not in given:
        return set(labels)
    return {label for label, part in zip(labels, given, strict=True) if part not in (UNKNOWN, NONE)}


def _needed(labels: list[str], given: list[str]) -> list[str]:
    """Labels, and for unknown images anything."""
    return [UNKNOWN if p == UNKNOWN else n for n, p in zip(labels, given, strict=True)]


def _places(names: list[str], known: Sequence[str]) -> npt.NDArray[np.int64]:
    """Each name's place among those that are known."""
    place = {name: i for i, name in enumerate(known)}
    return np.array([place[name] for name in names], dtype=np.int64)


def _wanted(config: DataConfig) -> dict[str, bool]:
    """Names of the columns, and whether each must be there."""
    names = {config.path_column: True, config.label_column: True}
    for key, default in OPTIONAL.items():
        if (name := getattr(config, key)) is not None:
            names.setdefault(name, name != default)
    return names


def column_names(file: Path) -> list[str]:
    """Names of the columns that a table has.

    Raises:
        UserError: it cannot be read.
    """
    return _read_any(file, [])[0]


def _read_any(file: Path, wanted: list[str]) -> tuple[list[str], Columns]:
    """Names of all columns, and those that are wanted, at least, as text."""
    match file.suffix.lower():
        case ".csv" | ".tsv" | ".txt":
            return _read_csv(file)
        case ".parquet" | ".pq":
            return _read_parquet(file, wanted)
        case suffix:
            raise UserError(
                f"data.root: {file} must be a .csv or .parquet file for data.name table, got "
                f"'{suffix}'"
            )


def _read(file: Path, wanted: dict[str, bool]) -> Columns:
    """The wanted columns that there are, as text."""
    there, columns = _read_any(file, list(wanted))
    lacking = [name for name, is_needed in wanted.items() if is_needed and name not in columns]
    if lacking:
        raise UserError(
            f"{file}: has no column '{lacking[0]}'{nearest(lacking[0], there)} (columns: "
            f"{', '.join(there):.300}); name the columns with data.path_column, data.label_column, "
            f"data.split_column, data.group_column"
        )
    return {name: columns[name] for name in wanted if name in columns}


def _read_csv(file: Path) -> tuple[list[str], Columns]:
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            first = lines.readline()
            delimiter = max(",;\t", key=first.count)
            header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except (OSError, csv.Error) as error:
        raise UserError(f"data.root: {file} cannot be read ({error})") from None
    if uneven := [i for i, row in enumerate(rows) if len(row) != len(header)]:
        raise UserError(
            f"{file}: {len(uneven)} row(s) have not {len(header)} fields as the header has, the "
            f"first is row {uneven[0] + 1}; put text that holds a '{delimiter}' in quotes"
        )
    return header, {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _read_parquet(file: Path, wanted: list[str]) -> tuple[list[str], Columns]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{file}: reading parquet takes pyarrow; pip install pyarrow, or give a CSV"
        ) from None
    try:
        there = parquet.read_schema(file).names
        table = parquet.read_table(file, columns=[name for name in there if name in wanted])
    except (OSError, ArrowException) as error:
        raise UserError(f"data.root: {file} cannot be read ({error!s:.200})") from None
    return there, {
        name: [_text(value) for value in table[name].to_pylist()] for name in table.column_names
    }


def _text(value: Any) -> str:
    """A value as a CSV would hold it."""
    return "" if value is None else str(value)


def _name(text: str) -> str:
    """A label or group; two forms of Unicode are one name, and blanks around it are none of it."""
    return unicodedata.normalize("NFC", text.strip())


def _rows(found: Sequence[int]) -> str:
    return f"row(s) {some([str(i + 1) for i in found])}"


def _empty(what: str, values: list[str]) -> str:
    found = [i for i, value in enumerate(values) if not value]
    return f"{len(found)} {what}(s) are empty: {_rows(found)}; fill them in" if found else ""


def _misnamed(column: str | None, parts: list[str]) -> str:
    names = sorted({part for part in parts if part and part.lower() not in SPLITS})
    if not names:
        return ""
    return (
        f"{column} holds {some(names)}; it must be train, val, test or unknown, or empty (not "
        f"used); without the column (data.split_column=null) a split is made"
    )


def _both(labels: list[str], given: list[str], known: set[str]) -> str:
    """Unknown images of a class that is known."""
    names = sorted({n for n, p in zip(labels, given, strict=True) if p == UNKNOWN and n in known})
    if not names:
        return ""
    return (
        f"{len(names)} class(es) have images of split {UNKNOWN} and of others: {some(names)}; "
        f"leave the split of the first empty, or call them otherwise"
    )


def _twice(paths: list[str]) -> str:
    counts = Counter(os.path.normpath(path) for path in paths if path)
    names = [path for path, n in counts.items() if n > 1]
    return f"{len(names)} file(s) stand there more than once: {some(names)}" if names else ""


def _missing(folder: Path, paths: list[str]) -> str:
    names = [path for path in paths if path and not os.path.isfile(folder / path)]
    if not names:
        return ""
    return f"{len(names)} file(s) are not under {folder}: {some(names)}; paths start at the table"
