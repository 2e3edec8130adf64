"""Splits that are made: by class, by group, from a seed; and the ones that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from supcon.config import DataConfig
from supcon.listing.groups import Labels, by_groups
from supcon.listing.partition import assign, stratified
from supcon.parsing import UserError

CLASSES = ("a", "b", "c", "d")


def of(*counts: int) -> Labels:
    """Labels of so many images of each class, mixed."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


def parts(
    labels: Labels, groups: Labels | None = None, given: str = "", **changes: Any
) -> np.ndarray[Any, np.dtype[np.str_]]:
    config = DataConfig(**changes)
    n = len(np.unique(labels))
    return assign(np.full(len(labels), given, "U5"), labels, CLASSES[:n], config, groups)


def counts(labels: Labels, found: Any, part: str) -> list[int]:
    n = len(np.unique(labels))
    return np.bincount(labels[found == part], minlength=n).tolist()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_split_that_has_every_class_is_that_of_scikit_learn(seed: int) -> None:
    labels = of(50, 30, 20)
    first, second = train_test_split(
        np.arange(100), test_size=17, stratify=labels, random_state=seed
    )
    ours = stratified(labels, 17, seed)
    assert np.array_equal(ours[0], np.sort(first))
    assert np.array_equal(ours[1], np.sort(second))


@pytest.mark.parametrize("sizes", [(120, 60, 20, 4), (200, 2, 2, 2), (5, 5, 5, 2), (3, 3, 3, 3)])
@pytest.mark.parametrize("n_second", [4, 6, -4])
def test_every_class_is_on_either_side_whenever_it_can_be(
    sizes: tuple[int, ...], n_second: int
) -> None:
    labels = of(*sizes)
    n = n_second % len(labels)
    for seed in range(20):
        first, second = stratified(labels, n, seed)
        assert len(second) == n
        assert sorted([*first, *second]) == list(range(len(labels)))
        assert set(labels[first]) == set(labels[second]) == {0, 1, 2, 3}


def test_without_given_parts_test_is_split_off_and_then_val() -> None:
    labels = of(120, 60, 20, 4)
    found = parts(labels)
    assert counts(labels, found, "test") == [24, 12, 4, 1]
    assert counts(labels, found, "val") == [8, 5, 2, 1]
    assert counts(labels, found, "train") == [88, 43, 14, 2]
    assert np.array_equal(found, parts(labels))
    assert not np.array_equal(found, parts(labels, split_seed=1))


def test_given_parts_stay() -> None:
    labels = of(10, 10)
    given = np.repeat(np.array(["train", "val", "test", ""]), 5)
    assert np.array_equal(assign(given, labels, "ab", DataConfig()), given)
    given[5:10] = "train"
    found = assign(given, labels, "ab", DataConfig(val_size=2))
    assert (found[10:] == given[10:]).all()
    assert (found == "val").sum() == 2


def test_a_class_of_one_training_image_keeps_it_whatever_the_train_size() -> None:
    labels = of(20, 20, 2)
    found = parts(labels, given="train", val_size=4, train_size=10)
    assert counts(labels, found, "train")[2] == 1
    assert (found == "train").sum() == 10


@pytest.mark.parametrize(
    ("sizes", "changes", "words"),
    [
        ((9, 2), {}, "class 'b' has 2 image(s), at least 3 are needed (one to train, one to"),
        ((9, 9, 9), {"test_size": 2}, "got 2; the smallest is data.test_size=3"),
        ((9, 9, 9), {"test_size": 0.05}, "got 1; the smallest is data.test_size=3"),
        ((9, 9, 9), {"val_size": 1}, "got 1; the smallest is data.val_size=3"),
        ((9, 9), {"test_size": 17}, "data.test_size must leave at least one image of each"),
    ],
)
def test_the_error_names_the_smallest_size_that_will_do(
    sizes: tuple[int, ...], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError) as error:
        parts(of(*sizes), **changes)
    assert words in str(error.value)


# Groups


def test_groups_of_one_class_each_leave_every_class_on_every_side() -> None:
    groups = np.repeat(np.arange(40), 3)
    labels = groups // 10  # ten products of each of four classes
    found = parts(labels, groups, val_size=0.2)
    for part in ("train", "val", "test"):
        assert min(counts(labels, found, part)) >= 3
    sides = {(g, p) for g, p in zip(groups.tolist(), found.tolist(), strict=True)}
    assert len(sides) == 40


def test_three_groups_a_class_are_enough_for_three_parts() -> None:
    groups = np.repeat(np.arange(6), 4)
    labels = groups // 3
    found = parts(labels, groups)
    assert [counts(labels, found, p) for p in ("train", "val", "test")] == [[4, 4]] * 3


def test_a_class_in_too_few_groups_is_named() -> None:
    groups = np.repeat(np.arange(5), 4)
    with pytest.raises(UserError, match=r"class 'b' lies in 2 group\(s\), at least 3 are needed"):
        parts(groups // 3, groups)


def test_a_class_that_the_share_lacks_comes_with_its_smallest_group() -> None:
    groups = np.repeat(np.arange(100), 5)
    labels = np.where(groups < 4, 1, 0)
    labels[groups == 3] = [1, 1, 0, 0, 0]
    groups[:1] = 4  # group 0 has 4 images of class 1
    labels[:1] = 0
    found = parts(labels, groups, test_size=0.02)
    assert set(groups[(labels == 1) & (found == "test")]) <= {0, 1, 2, 3}
    assert counts(labels, found, "test")[1] > 0
    assert (found == "test").sum() <= 20
    sides = {(g, p) for g, p in zip(groups.tolist(), found.tolist(), strict=True)}
    assert len(sides) == 100


def test_groups_that_no_draw_can_part_are_refused() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2])
    labels = np.array([0, 1, 0, 2, 1, 2])  # any two groups hold all of one class
    assert by_groups(labels, groups, 0.3, 0) is None
    given = np.full(6, "train")
    with pytest.raises(UserError, match="of 10 draws of whole groups for val, each left a class"):
        assign(given, labels, "abc", DataConfig(val_size=3), groups)


def test_lost_images_change_nothing_of_test_and_are_nowhere_else() -> None:
    labels = of(20, 20)
    whole = parts(labels)
    is_lost = np.zeros(40, dtype=bool)
    is_lost[np.flatnonzero(whole == "val")[:2]] = is_lost[np.flatnonzero(whole == "test")[0]] = True
    found = assign(np.full(40, ""), labels, "ab", DataConfig(), is_lost=is_lost)
    assert np.array_equal(found == "test", whole == "test")
    assert set(found[is_lost]) == {"", "test"}
    assert min(counts(labels, found, "val")) > 0
