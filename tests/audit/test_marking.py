"""All marks of several sets: as of one picture at a time, whoever makes them, and made once."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from PIL import Image

from supcon.audit import marking
from supcon.audit.marking import mark_all
from supcon.audit.marks import ANIMATED, ONE_COLOUR, TRANSPARENT, marks_of
from supcon.images.decoding import read_picture
from supcon.images.files import ImageFiles
from supcon.parsing import UserError


@pytest.mark.parametrize("workers", [0, 2])
def test_marks_are_those_of_the_pictures_in_their_order(
    files: ImageFiles, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marking, "BLOCK", 5)
    array = files[:][::-1]
    of_files, of_array = mark_all([files, array], workers)
    assert np.array_equal(of_files, marks_of(files[:]))
    assert np.array_equal(of_array, marks_of(array))


def test_files_are_read_again_only_where_they_have_changed(
    files: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[str]()

    def spy(path: Any, *how: Any) -> Any:
        read.append(path.name)
        return read_picture(path, *how)

    monkeypatch.setattr(marking, "read_picture", spy)
    first, _ = mark_all([files.take(np.arange(9)), files.take(np.array([9, 10]))])
    assert len(read) == 11
    path = files.paths()[3]
    Image.new("RGB", (20, 20), "red").save(path)
    os.utime(path, ns=(1, 1))
    read.clear()
    (second,) = mark_all([files])
    assert sorted(read) == ["11.png", "3.png"]
    assert second["flags"][3] == ONE_COLOUR
    assert np.array_equal(np.delete(second, [3, 9, 10, 11]), np.delete(first, 3))
    read.clear()
    assert np.array_equal(mark_all([files])[0], second)
    assert read == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_named(files: ImageFiles, workers: int) -> None:
    files.paths()[7].write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"7\.png: not a readable image .* repair or remove it$"):
        mark_all([files], workers)


def test_what_only_a_file_tells_is_marked_too(files: ImageFiles) -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 10, 20))
    clear.save(files.paths()[1])
    moving = Image.new("RGB", (20, 20), "red")
    moving.save(files.paths()[2], save_all=True, append_images=[Image.new("RGB", (20, 20), "blue")])
    (marks,) = mark_all([files])
    assert marks["flags"][:4].tolist() == [0, TRANSPARENT, ANIMATED | ONE_COLOUR, 0]


def test_large_pictures_are_marked_in_smaller_blocks() -> None:
    images = np.zeros((10, 2048, 2048, 1), dtype=np.uint8)
    blocks = marking._Blocks([images], [np.arange(10)])
    assert [len(chosen) for _, chosen in blocks.blocks] == [4, 4, 2]
