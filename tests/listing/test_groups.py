"""Whole groups on one side of a split; how `assign` uses them is in test_partition.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from supcon.listing.groups import by_groups, check_classes, check_groups
from supcon.parsing import UserError


def grouped(n_groups: int, per_group: int, n_classes: int = 2, seed: int = 0) -> Any:
    """Labels and groups; each group holds images of all classes, unequally."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), per_group)
    labels = rng.integers(0, n_classes, len(groups))
    order = rng.permutation(len(groups))
    return labels[order], groups[order]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5, 0.7])
def test_whole_groups_are_taken_about_as_many_images_as_wanted(share: float) -> None:
    labels, groups = grouped(60, 5, 3)
    taken = by_groups(labels, groups, share, 0)
    assert taken is not None
    inside = set(groups[taken])
    assert set(groups[np.setdiff1d(np.arange(300), taken)]).isdisjoint(inside)
    assert len(taken) / 300 == pytest.approx(share, abs=0.05)
    per_class = np.bincount(labels[taken]) / np.bincount(labels)
    assert np.abs(per_class - share).max() < 0.08


def test_groups_on_two_sides_are_counted_and_three_are_named() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    sides = np.array(["train", "test"] * 4 + ["train", ""])
    with pytest.raises(UserError) as error:
        check_groups(sides, groups, ["p0", "p1", "p2", "p3", "p4"])
    assert "4 group(s) lie on two sides of a split: p0, p1, p2 and 1 more;" in str(error.value)
    check_groups(np.where(groups < 3, "train", "test"), groups, ["p"] * 5)


def test_the_least_number_of_groups_is_taken_and_enough_are_left() -> None:
    groups = np.repeat(np.arange(6), 4)
    labels = np.arange(24) % 2  # both classes in each group
    for least in (1, 2, 4):
        taken = by_groups(labels, groups, 0.1, 0, left=2, least=least)
        assert taken is not None
        assert len(set(groups[taken])) == least
    assert by_groups(labels, groups, 0.1, 0, left=2, least=5) is None


def test_a_class_in_too_few_groups_is_refused() -> None:
    labels, groups = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])
    everywhere = np.ones(4, dtype=bool)
    check_classes(labels, "ab", groups, everywhere, 1)
    with pytest.raises(UserError, match=r"class 'b' lies in 1 group\(s\), at least 2 are needed"):
        check_classes(labels, "ab", groups, everywhere, 2)
