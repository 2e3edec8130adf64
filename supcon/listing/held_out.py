"""Classes that are held out: no model learns them, and their test images are unknown to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from supcon.config import DataConfig
from supcon.listing.listing import Listing
from supcon.listing.names import NONE, TEST, UNKNOWN
from supcon.parsing import UserError

LEAST = 2  # classes that must stay


def drawn(classes: Sequence[str], config: DataConfig) -> tuple[list[int], list[int]]:
    """Labels of the classes that stay, and of those that `data.hold_out` holds out; ascending.

    The same for the same classes and `data.split_seed`; one more is drawn beside the same others.

    Args:
        classes: names of all.
        config: how many, and the seed.

    Raises:
        UserError: too few would stay.
    """
    most = max(0, len(classes) - LEAST)
    if config.hold_out > most:
        raise UserError(
            f"data.hold_out must leave at least {LEAST} of the {len(classes)} classes, got "
            f"{config.hold_out}; set it to {most} or less"
        )
    order = np.random.default_rng(config.split_seed).permutation(len(classes)).tolist()
    return sorted(order[config.hold_out :]), sorted(order[: config.hold_out])


def hold_out(found: Listing, config: DataConfig) -> Listing:
    """The listing without some of its classes.

    Args:
        found: each image in its part, as far as test goes.
        config: how many, and the seed.

    Returns:
        Test images of the classes held out as unknown ones, their others in no part.

    Raises:
        UserError: too few classes would stay, or the images say themselves which are unknown.
    """
    if not config.hold_out:
        return found
    if (found.parts == UNKNOWN).any():
        raise UserError(
            f"data.hold_out must be 0, since {config.root} has images of split {UNKNOWN} already, "
            f"got {config.hold_out}; leave it out, or the split (data.split_column=null)"
        )
    kept, held = drawn(found.classes, config)
    is_held, parts = np.isin(found.labels, held), found.parts.copy()
    parts[is_held] = np.where(found.parts[is_held] == TEST, UNKNOWN, NONE)
    return replace(
        found,
        labels=np.argsort([*kept, *held])[found.labels],
        classes=tuple(found.classes[label] for label in kept),
        parts=parts,
        held_out=tuple(found.classes[label] for label in held),
    )
