"""Whether images in files are decoded and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supcon.config import Config
from supcon.images.files import ImageFiles
from supcon.images.loading import load_splits, load_test
from supcon.images.memory import decoded_bytes, has_room_for
from supcon.images.split import Split
from supcon.parsing import UserError
from tests.images.pictures import folder, training_from


def test_a_folder_is_streamed_if_it_is_too_big_or_if_that_is_asked_for(
    tiny: Config, shades: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_streamed(pipeline: str) -> bool:
        data = load_splits(training_from(shades, tiny, pipeline=pipeline).data)
        kinds = {isinstance(split.images, ImageFiles) for split in (data.train, data.val)}
        assert len(kinds) == 1
        return kinds.pop()

    found = {pipeline: is_streamed(pipeline) for pipeline in ("auto", "resident", "streaming")}
    assert found == {"auto": False, "resident": False, "streaming": True}
    needed = 60 * 16 * 16 * 3
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 4 * needed - 1)
    assert is_streamed("auto")
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 4 * needed)
    assert not is_streamed("auto")


def test_images_beyond_the_free_memory_are_refused(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 1000)
    with pytest.raises(
        UserError, match=r"^data\.pipeline: .* free some of it, or choose streaming"
    ):
        load_splits(folder(images, pipeline="resident"))


def test_images_take_as_many_bytes_as_their_pixels(files: ImageFiles) -> None:
    labels = np.zeros(len(files), dtype=np.int64)
    split = Split(files, labels)
    assert decoded_bytes([split]) == files[:].nbytes == decoded_bytes([split.decoded()])
    assert decoded_bytes([split, split.take(np.array([0, 2]))]) == 7 * 16 * 16 * 3


@pytest.mark.parametrize(("free", "expected"), [(4 * 3840 - 1, False), (4 * 3840, True)])
def test_images_have_room_in_a_quarter_of_the_free_memory(
    files: ImageFiles, monkeypatch: pytest.MonkeyPatch, free: int, expected: bool
) -> None:
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: free)
    assert has_room_for([Split(files, np.zeros(5, dtype=np.int64))]) is expected


@pytest.mark.parametrize(
    ("pipeline", "free", "is_kept"),
    [
        ("auto", 2**40, True),
        ("resident", 2**40, True),
        ("streaming", 2**40, False),
        ("auto", 0, False),
        ("resident", 0, False),  # scored after training: no reason to end it
    ],
)
def test_test_images_are_decoded_where_there_is_room(
    images: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, free: int, is_kept: bool
) -> None:
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: free)
    test = load_test(folder(images, pipeline=pipeline))
    assert isinstance(test.images, ImageFiles) is not is_kept
