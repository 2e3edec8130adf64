"""Test images dealt to blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from search.further.blocks import count_units, deal
from supcon.images.split import Split


def split(labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64] | None = None) -> Split:
    return Split(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, groups)


@pytest.mark.parametrize("n_blocks", [2, 7, 30])
def test_blocks_are_of_one_size_and_have_each_class_alike(n_blocks: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [200, 90, 31, 2]))
    blocks = deal(split(labels), n_blocks)
    sizes = np.bincount(blocks, minlength=n_blocks)
    assert sizes.max() - sizes.min() <= 1
    for k in range(4):
        own = np.bincount(blocks[labels == k], minlength=n_blocks)
        assert own.max() - own.min() <= 1


def test_the_same_images_are_dealt_alike_each_time_and_not_in_their_order() -> None:
    labels = np.repeat(np.arange(3), 40)
    first = deal(split(labels), 6)
    assert np.array_equal(first, deal(split(labels), 6))
    assert not np.array_equal(first[:40] % 6, np.arange(40) % 6)


def test_labels_that_mean_nothing_are_not_looked_at() -> None:
    one, other = np.zeros(50, np.int64), np.arange(50)
    first, second = (deal(split(labels), 5, by_class=False) for labels in (one, other))
    assert np.array_equal(first, second)


def test_groups_stay_whole_and_fill_blocks_evenly() -> None:
    sizes = [40, 20, 20, 9, 8, 7, 3, 2, 1, 1]
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(10) * 3, sizes))
    each = split(np.zeros(len(groups), np.int64), groups)
    assert count_units(each) == 10
    blocks = deal(each, 3)
    for group in np.unique(groups):
        assert len(set(blocks[groups == group])) == 1
    loads = np.bincount(blocks, minlength=3)
    assert loads.max() <= 40  # the largest group fills one by itself
    assert loads.min() >= 30


def test_each_image_or_group_may_be_a_block_of_its_own() -> None:
    labels = np.arange(9) % 2
    assert sorted(deal(split(labels), 9)) == [*range(9)]
    groups = np.array([5, 5, 1, 1, 1, 2])
    assert sorted(set(deal(split(labels[:6], groups), 3))) == [0, 1, 2]
