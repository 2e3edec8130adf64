"""Which classes are held out, and what becomes of their images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from supcon.config import DataConfig
from supcon.listing.held_out import drawn, hold_out
from supcon.listing.listing import Listing
from supcon.parsing import UserError

CLASSES = ("ant", "bee", "cat", "dog")


def listing() -> Listing:
    """Three images of each class, one a part."""
    parts = np.array(["train", "val", "test"] * 4, dtype="U7")
    names = np.array([f"{i}.png".encode() for i in range(12)])
    return Listing(Path("/x"), names, np.repeat(np.arange(4), 3), CLASSES, parts)


def config(n: int, seed: int = 0) -> DataConfig:
    return DataConfig(hold_out=n, split_seed=seed)


def test_so_many_classes_are_drawn_by_the_seed_and_one_more_beside_the_same() -> None:
    before: set[int] = set()
    for n in range(9):
        kept, held = drawn("abcdefghijk", config(n))
        assert sorted(kept + held) == list(range(11))
        assert (len(held), sorted(held), sorted(kept)) == (n, held, kept)
        assert before <= set(held)
        before = set(held)
    assert {tuple(drawn(CLASSES, config(1, seed))[1]) for seed in range(30)} == {
        (0,), (1,), (2,), (3,)
    }  # fmt: skip


def test_test_images_of_a_class_held_out_are_unknown_and_its_others_are_of_no_part() -> None:
    whole, found = listing(), hold_out(listing(), config(2))
    assert (len(found.classes), len(found.held_out)) == (2, 2)
    names = (*found.classes, *found.held_out)
    assert [names[label] for label in found.labels] == [CLASSES[label] for label in whole.labels]
    is_held = np.isin(found.labels, (2, 3))
    assert found.parts[~is_held].tolist() == ["train", "val", "test"] * 2
    assert found.parts[is_held].tolist() == ["", "", "unknown"] * 2


def test_without_classes_to_hold_out_a_listing_stays_as_it_is() -> None:
    before = listing()
    assert hold_out(before, config(0)) is before


@pytest.mark.parametrize(("n", "most"), [(3, 2), (40, 2)])
def test_at_least_two_classes_stay(n: int, most: int) -> None:
    with pytest.raises(UserError) as error:
        drawn(CLASSES, config(n))
    assert str(error.value) == (
        f"data.hold_out must leave at least 2 of the 4 classes, got {n}; set it to {most} or less"
    )


def test_what_says_itself_which_images_are_unknown_holds_out_no_more() -> None:
    marked = replace(listing(), parts=np.where(listing().parts == "val", "unknown", "train"))
    with pytest.raises(UserError, match=r"data.hold_out must be 0, since .* split unknown already"):
        hold_out(marked, config(1))
