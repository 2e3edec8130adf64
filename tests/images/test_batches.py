"""An epoch's batches, from memory or streamed, as the config asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.config import Config, override
from supcon.images.batches import Batches, balanced_order, check_room_to_share, n_workers
from supcon.images.files import ImageFiles
from supcon.images.loading import load_splits
from supcon.images.split import Split
from supcon.parsing import UserError
from supcon.train import fit
from tests.images.pictures import training_from

CPU = torch.device("cpu")


def some(n: int = 20) -> Split:
    """Images of one colour each, which names them."""
    pixels = np.repeat(np.arange(n, dtype=np.uint8), 8 * 8).reshape(n, 8, 8, 1)
    pixels.setflags(write=False)  # as handed out by a search
    return Split(pixels, np.arange(n) % 3)


def batches(tiny: Config, train: Split, **data: Any) -> Batches:
    changes = {"data.batch_size": 8, "augment.strength": 0.0, "augment.views": 3}
    changes |= {f"data.{key}": value for key, value in data.items()}
    return Batches(override(tiny, changes), train, 10, CPU)


def epoch(made: Batches, seed: int) -> list[tuple[Tensor, Tensor]]:
    return list(made.epoch(seed))


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_an_epoch_shows_images_once_in_so_many_views_with_their_labels(
    tiny: Config, pipeline: str
) -> None:
    split = some()
    shown = []
    for images, labels in epoch(batches(tiny, split, pipeline=pipeline), seed=3):
        assert images.shape == (3 * 8, 1, 8, 8)
        names = images[:, 0, 0, 0].long()
        assert torch.equal(images.float(), names[:, None, None, None].expand_as(images).float())
        for view in names.split(8):
            assert torch.equal(view, names[:8])
        assert labels.tolist() == split.labels[names.numpy()].tolist()
        shown += names[:8].tolist()
    assert len(shown) == len(set(shown)) == 16  # the incomplete batch is dropped


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_the_batches_of_an_epoch_are_a_function_of_its_seed(tiny: Config, pipeline: str) -> None:
    made = batches(tiny, some(), pipeline=pipeline)
    first, other = epoch(made, seed=1), epoch(made, seed=2)
    torch.testing.assert_close(epoch(made, seed=1), first, rtol=0, atol=0)
    assert not all(torch.equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("pipeline", "in_files", "is_resident"),
    [
        ("auto", False, True),
        ("resident", False, True),
        ("streaming", False, False),
        ("auto", True, False),
        ("streaming", True, False),
    ],
)
def test_decoded_images_are_resident_unless_streaming_is_asked_for(
    tiny: Config, files: ImageFiles, pipeline: str, in_files: bool, is_resident: bool
) -> None:
    split = Split(files, np.zeros(5, dtype=np.int64)) if in_files else some()
    made = batches(tiny, split, pipeline=pipeline, batch_size=2)
    assert (made.resident is not None) is is_resident
    kinds = {images.dtype for images, _ in epoch(made, seed=0)}
    assert kinds == {torch.float32 if is_resident else torch.uint8}


def test_images_that_are_resident_on_the_cpu_are_no_copy(tiny: Config) -> None:
    split = some()
    made = batches(tiny, split)
    assert made.resident is not None
    assert isinstance(split.images, np.ndarray)
    assert made.resident[0].data_ptr() == split.images.ctypes.data


def test_files_are_read_by_a_worker_for_each_thread_unless_told_otherwise(
    tiny: Config, files: ImageFiles
) -> None:
    in_files = Split(files, np.zeros(5, dtype=np.int64))

    def n(split: Split, **data: Any) -> int:
        changes = {f"data.{key}": value for key, value in data.items()}
        return n_workers(override(tiny, changes), split, threads=3)

    assert n(in_files) == 3
    assert n(some(), pipeline="streaming") == 0
    assert n(in_files, workers=0) == 0
    assert n(some(), pipeline="streaming", workers=2) == 2
    assert n(some(), workers=2) == 0  # resident


def test_batches_that_have_no_room_to_be_handed_over_are_refused_before_training(
    tiny: Config, files: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = override(tiny, {"data.batch_size": 1000, "augment.views": 2})
    in_files = Split(files, np.zeros(5, dtype=np.int64))
    needed = 2 * (2 * 3 + 1) * 1000 * 2 * 16 * 16 * 3  # 2 runs: 2 batches of 3 workers, 1 in use
    monkeypatch.setattr("supcon.images.batches.free_to_share", lambda: needed)
    check_room_to_share(config, in_files, threads=3, runs=2)
    monkeypatch.setattr("supcon.images.batches.free_to_share", lambda: needed - 1)
    with pytest.raises(UserError) as error:
        check_room_to_share(config, in_files, threads=3, runs=2)
    assert str(error.value) == (
        "/dev/shm: 21 MiB are free, but 2 x 3 workers that make batches of 1.5 MiB may fill 21 "
        "MiB; enlarge it (docker run --shm-size=41m), or set data.workers to 0, or data.pipeline "
        "to resident"
    )
    check_room_to_share(override(config, {"data.workers": 0}), in_files, threads=3, runs=2)
    monkeypatch.setattr("supcon.images.batches.free_to_share", lambda: None)  # no /dev/shm
    check_room_to_share(config, in_files, threads=3, runs=2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_from_files_is_a_run_from_memory(tiny: Config, shades: Path, workers: int) -> None:
    settings = training_from(shades, tiny, pipeline="streaming", workers=workers)
    streamed = load_splits(settings.data)
    assert isinstance(streamed.train.images, ImageFiles)
    decoded = type(streamed)(streamed.train.decoded(), streamed.val.decoded(), streamed.classes)
    assert streamed.train.channel_statistics == decoded.train.channel_statistics
    assert list(fit(settings, streamed)) == list(fit(settings, decoded))


UNEQUAL = np.repeat(np.arange(3), [70, 20, 6])


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_balanced_batches_show_each_class_equally_often_in_an_epoch_of_the_same_length(
    tiny: Config, pipeline: str
) -> None:
    split = Split(some(96).images, UNEQUAL)
    made = batches(tiny, split, pipeline=pipeline, sampler="balanced")
    shown: list[int] = []
    for images, labels in epoch(made, seed=3):
        names = images[:8, 0, 0, 0].long()
        assert labels[:8].tolist() == UNEQUAL[names.numpy()].tolist()
        shown += names.tolist()
    assert np.bincount(UNEQUAL[shown]).tolist() == [32, 32, 32]
    times = np.bincount(shown, minlength=96)
    for label in range(3):  # in turn
        assert np.ptp(times[label == UNEQUAL]) <= 1


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_balanced_batches_are_a_function_of_the_seed(tiny: Config, pipeline: str) -> None:
    split = Split(some(96).images, UNEQUAL)
    once, again, other = (
        [
            names[:8, 0, 0, 0].tolist()
            for names, _ in epoch(batches(tiny, split, pipeline=pipeline, sampler="balanced"), seed)
        ]
        for seed in (1, 1, 2)
    )
    assert once == again
    assert once != other
    assert once[0] != sorted(once[0])


@pytest.mark.parametrize("n", [1, 7, 30, 97])
def test_what_does_not_divide_goes_to_some_classes_once_more(n: int) -> None:
    labels = np.arange(n) % 7 % 4
    chosen = balanced_order(labels, seed=5)
    assert len(chosen) == n
    counts = np.bincount(labels[chosen], minlength=len(np.unique(labels)))
    assert counts.max() - counts.min() <= 1
