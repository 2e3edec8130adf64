"""Marks of files: remembered while these are unchanged, made anew if anything is broken."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from supcon.audit.cache import read_cache, stamps_of, write_cache
from supcon.audit.marks import marks_of
from supcon.images.files import ImageFiles
from supcon.parsing import UserError


def stored(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "cache/supcon-search/marks").iterdir()
    return file


def remember(files: ImageFiles) -> None:
    write_cache(files, stamps_of(files), marks_of(files[:]))


def test_marks_come_back_for_the_files_as_they_were(files: ImageFiles) -> None:
    remember(files)
    some = files.take(np.array([5, 2, 9]))
    os.utime(some.paths()[1], ns=(7, 7))
    is_known, marks = read_cache(some, stamps_of(some))
    assert is_known.tolist() == [True, False, True]
    assert np.array_equal(marks[is_known], marks_of(some[:])[is_known])


def test_files_of_the_same_folder_are_remembered_together(files: ImageFiles) -> None:
    parts = files.take(np.arange(5)), files.take(np.arange(3, 12))
    for part in parts:
        remember(part)
    is_known, marks = read_cache(files, stamps_of(files))
    assert is_known.all()
    assert np.array_equal(marks, marks_of(files[:]))


def test_files_read_in_another_way_are_other_pictures(files: ImageFiles) -> None:
    remember(files)
    other = ImageFiles(files.root, files.names, replace(files.reading, fit="pad"))
    assert not read_cache(other, stamps_of(other))[0].any()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array", None])
def test_a_broken_cache_is_made_anew(
    files: ImageFiles, tmp_path: Path, content: bytes | None
) -> None:
    remember(files)
    file = stored(tmp_path)
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    assert not read_cache(files, stamps_of(files))[0].any()
    remember(files)
    assert read_cache(files, stamps_of(files))[0].all()


def test_a_cache_of_something_else_is_made_anew(files: ImageFiles, tmp_path: Path) -> None:
    remember(files)
    with stored(tmp_path).open("wb") as file:
        np.save(file, np.zeros(12, dtype=[("name", "S9"), ("mark", "<i8")]))
    assert not read_cache(files, stamps_of(files))[0].any()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    files: ImageFiles, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    remember(files)
    assert not read_cache(files, stamps_of(files))[0].any()


def test_a_file_that_is_gone_is_named(files: ImageFiles) -> None:
    files.paths()[4].unlink()
    with pytest.raises(UserError, match=r"4\.png: cannot be read \(No such file or directory\)"):
        stamps_of(files)
