"""What an audit counts, and the lines that say it. Nothing here looks at a picture."""

from __future__ import annotations

from collections.abc import Sequence

from supcon.parsing import Section


class Looks(Section):
    """What the images of a part look like."""

    part: str
    images: int
    one_colour: int
    """Whose pixels are all equal."""
    little_detail: int
    """Too smooth to tell a near copy from one that looks alike; only equal copies are found."""
    transparent: int
    """Laid on `data.background`."""
    animated: int
    """In files with further pictures, of which the first is taken."""


class Twins(Section):
    """Images of a part that have a copy in another part, or, if it is the same, a further one."""

    part: str
    of: str
    images: int
    """Of `part`, with an equal or a near copy in `of`."""
    equal: int
    """Those with an equal one, pixel by pixel."""
    other_label: int
    """Those with a copy under another label."""
    shared_groups: int | None
    """Groups that are in both; null: not known, or the same part."""


def describe(looks: Sequence[Looks], twins: Sequence[Twins]) -> list[str]:
    """A line for each thing that was found, what spoils a test first; none if nothing was."""
    sizes = {each.part: each.images for each in looks}
    across = [each for each in twins if each.part != each.of]
    across.sort(key=lambda each: (each.part != "test", each.of != "train"))
    within = [each for each in twins if each.part == each.of]
    lines = [_twins(each, sizes[each.part]) for each in across + within if each.images]
    lines += [
        f"{each.shared_groups:,} groups are in both {each.of} and {each.part}"
        for each in across
        if each.shared_groups
    ]
    told = (
        ("one_colour", "of one colour"),
        ("transparent", "transparent, laid on data.background"),
        ("animated", "in files with several pictures, of which the first is taken"),
        ("little_detail", "too smooth to tell a near copy from one that looks alike: of these only "
         "equal copies are found"),
    )  # fmt: skip
    for field, what in told:
        counts = [(getattr(each, field), each) for each in looks]
        found = [f"{n:,} of {each.images:,} in {each.part}" for n, each in counts if n]
        if found:
            lines.append(f"{', '.join(found)}: {what}")
    return lines


def _twins(found: Twins, n: int) -> str:
    other = f", {found.other_label:,} of them under another label" if found.other_label else ""
    further = "a further copy" if found.part == found.of else "a copy"
    return (
        f"{found.images:,} of {n:,} images of {found.part} ({found.images / n:.1%}) have {further} "
        f"in {found.of} ({found.equal:,} equal, {found.images - found.equal:,} nearly so){other}"
    )
