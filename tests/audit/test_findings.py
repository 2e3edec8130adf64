"""What is said of an audit: all that was found, what spoils a test first, and nothing else."""

from __future__ import annotations

from typing import Any

from supcon.audit.findings import Looks, Twins, describe


def looks(part: str, images: int, **found: int) -> Looks:
    none = {"one_colour": 0, "little_detail": 0, "transparent": 0, "animated": 0}
    return Looks(part=part, images=images, **(none | found))


def twins(part: str, of: str, *counts: int, **more: Any) -> Twins:
    images, equal, other_label = counts or (0, 0, 0)
    more = {"shared_groups": None} | more
    return Twins(
        part=part, of=of, images=images, equal=equal, other_label=other_label, **more
    )  # fmt: skip


PARTS = [looks("train", 2000), looks("val", 200), looks("test", 400)]


def test_of_nothing_nothing_is_said() -> None:
    assert describe(PARTS, [twins("val", "train"), twins("test", "train")]) == []


def test_copies_of_test_images_come_first() -> None:
    found = [
        twins("train", "train", 30, 20, 0),
        twins("val", "train", 2, 2, 0),
        twins("test", "train", 12, 10, 3),
        twins("val", "val"),
        twins("test", "val", 1, 0, 1),
    ]
    assert describe(PARTS, found) == [
        "12 of 400 images of test (3.0%) have a copy in train (10 equal, 2 nearly so), 3 of them "
        "under another label",
        "1 of 400 images of test (0.2%) have a copy in val (0 equal, 1 nearly so), 1 of them under "
        "another label",
        "2 of 200 images of val (1.0%) have a copy in train (2 equal, 0 nearly so)",
        "30 of 2,000 images of train (1.5%) have a further copy in train (20 equal, 10 nearly so)",
    ]


def test_groups_on_both_sides_are_told() -> None:
    assert describe(PARTS, [twins("test", "train", shared_groups=4)]) == [
        "4 groups are in both train and test"
    ]


def test_each_kind_of_picture_has_a_line() -> None:
    parts = [looks("train", 2000, one_colour=3, animated=1), looks("test", 400, one_colour=1)]
    assert describe(parts, []) == [
        "3 of 2,000 in train, 1 of 400 in test: of one colour",
        "1 of 2,000 in train: in files with several pictures, of which the first is taken",
    ]
    parts = [looks("train", 9, transparent=9, little_detail=2)]
    assert describe(parts, []) == [
        "9 of 9 in train: transparent, laid on data.background",
        "2 of 9 in train: too smooth to tell a near copy from one that looks alike: of these only "
        "equal copies are found",
    ]
