"""Images lie in memory once, whoever looks at them."""

from __future__ import annotations

import copy
import pickle
import weakref

import numpy as np
import pytest

from search.engine.shared_images import SharedImages
from supcon.images.files import ImageFiles
from supcon.images.split import Split, Splits


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Ray's object store: what is put there is another object when it is got back."""
    kept: list[bytes] = []

    def put(value: object) -> int:
        kept.append(pickle.dumps(value))
        return len(kept) - 1

    monkeypatch.setattr("ray.put", put)
    monkeypatch.setattr("ray.get", lambda reference: pickle.loads(kept[reference]))
    return kept


def test_while_trials_run_the_only_copy_is_that_in_the_store(
    store: list[bytes], digits: Splits
) -> None:
    loaded = copy.deepcopy(digits)
    images, original = SharedImages(loaded), weakref.ref(loaded.train)
    del loaded
    with images.shared() as reference:
        assert reference == 0
        assert original() is None  # else it would be held twice
        assert images.splits.fingerprint() == digits.fingerprint()
        in_store = images.splits.train.images
    assert len(store) == 1
    assert images.splits.fingerprint() == digits.fingerprint()
    assert not np.shares_memory(images.splits.train.images[:], in_store[:])  # Ray may end


def test_images_are_there_after_an_error_too(store: list[bytes], digits: Splits) -> None:
    images = SharedImages(copy.deepcopy(digits))
    with pytest.raises(ZeroDivisionError), images.shared():
        _ = 1 / 0
    assert images.splits.fingerprint() == digits.fingerprint()


def test_the_store_holds_decoded_images_and_no_files(digits: Splits) -> None:
    pixels = sum(split.images[:].nbytes for split in (digits.train, digits.val))
    assert SharedImages(digits).size == pixels
    files = ImageFiles.__new__(ImageFiles)
    streamed = Splits(Split(files, digits.train.labels), digits.val, digits.classes)
    assert SharedImages(streamed).size == digits.val.images[:].nbytes
