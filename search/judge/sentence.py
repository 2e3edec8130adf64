"""The sentence that a comparison comes to."""

from __future__ import annotations

from pydantic.dataclasses import dataclass as documented

from search.judge.difference import ALPHA, MIN_SEARCHES, Difference
from supcon.config import METRICS, TOP1
from supcon.parsing import DOCUMENTED

_THESE = "These two configurations"
MEASURES = {TOP1: "test accuracy", METRICS["balanced"]: "balanced test accuracy"}
"""What is compared, by the name of what selects."""


@documented(frozen=True, config=DOCUMENTED)
class WithoutCopies:
    """The same comparison on the test images that have no copy in train."""

    copies: int
    """Test images that have one, and do not count here."""
    images: int
    """Those that are left."""
    probes: Difference | None
    """null: fewer than 2 images are left."""
    against_head: Difference | None
    agrees: bool
    """Whether it comes to the same."""


def sentence(
    name_a: str,
    name_b: str,
    probes: Difference,
    against_head: Difference | None,
    metric: str = TOP1,
) -> str:
    """One plain sentence, about these two configurations on this split and nothing more.

    One of several comparisons names its arms first, and what it shares its level with.

    Args:
        name_a: arm A.
        name_b: arm B.
        probes: A's linear probe minus B's.
        against_head: A's linear probe minus B's own head, where B has one; A wins only if it beats
            both.
        metric: name of what selects.
    """
    found = _finding(name_a, name_b, probes, against_head, _evidence(probes), metric)
    which = f"These configurations of {name_a} and {name_b}" if probes.judged else _THESE
    return f"{which} on this split: {found}."


def outcome(probes: Difference, head: Difference | None) -> str:
    """What a comparison comes to: `a`, `a's probe`, `b` or `none`, whatever the figures."""
    if not probes.is_shown:
        return "none"
    if probes.difference < 0:
        return "b"
    return "a" if head is None or (head.is_shown and head.difference > 0) else "a's probe"


def with_copies(
    text: str, name_a: str, name_b: str, found: WithoutCopies, metric: str = TOP1
) -> str:
    """The sentence on all test images, and what becomes of it without copies of training images.

    Args:
        text: the sentence on all.
        name_a: arm A.
        name_b: arm B.
        found: the comparison without copies; if it comes to something else, that is said first.
        metric: name of what selects.
    """
    of = f"{found.copies:,} of {found.copies + found.images:,} test images"
    if found.probes is None:
        return (
            f"{of} have a copy in train: scores on them tell how well images are remembered, and "
            f"nothing of new ones. {text}"
        )
    if found.agrees:
        same = _points(found.probes)
        return f"{text} Without the {of} that have a copy in train it is the same ({same})."
    evidence = _evidence(found.probes)
    other = _finding(name_a, name_b, found.probes, found.against_head, evidence, metric)
    verdict = f"The verdict on {name_a} and {name_b}" if found.probes.judged else "The verdict"
    return (
        f"{verdict} hangs on test images that have a copy in train ({of}). Without them: "
        f"{other}. With them: {text}"
    )


def _evidence(probes: Difference) -> str:
    groups = f", test images in {probes.n_groups} groups" if probes.n_groups else ""
    return f"{_adjusted(probes)}{probes.n_seeds} seeds each{groups}"


def _adjusted(probes: Difference) -> str:
    """What its level, which the interval names, is shared with."""
    return f"adjusted for {probes.judged.comparisons} comparisons (Holm), " if probes.judged else ""


def methods_sentence(
    name_a: str,
    name_b: str,
    probes: Difference | None,
    against_head: Difference | None,
    *,
    n_judged: int,
    n_searches: int,
    same_test_images: bool,
    metric: str = TOP1,
) -> str:
    """One plain sentence about the methods, from independent searches.

    Args:
        name_a: arm A.
        name_b: arm B.
        probes: A's linear probe minus B's, by the searches that compared them; None: too few did.
        against_head: A's linear probe minus B's own head likewise, where B has one.
        n_judged: searches that compared the two.
        n_searches: with those that gave no verdict, and so no difference.
        same_test_images: all searches were scored on the same test images.
        metric: name of what selects.
    """
    scope = "The methods, searched like this on this data set"
    count = str(n_judged) if n_judged == n_searches else f"{n_judged} of {n_searches}"
    without = "" if n_judged == n_searches else " (the others gave no verdict)"
    if probes is None:
        return (
            f"{scope}: no statement is possible, since how much one search differs from the next "
            f"takes {MIN_SEARCHES} independent searches of both arms to see, and there are "
            f"{count}{without}."
        )
    evidence = f"{_adjusted(probes)}{count} searches{without}" + (
        ", all scored on the same test images, so that the interval leaves out the chance of these"
        if same_test_images
        else ""
    )
    return f"{scope}: {_finding(name_a, name_b, probes, against_head, evidence, metric)}."


def _finding(
    name_a: str,
    name_b: str,
    probes: Difference,
    head: Difference | None,
    evidence: str,
    metric: str,
) -> str:
    level = probes.judged.level if probes.judged else ALPHA
    interval = f"{100 * (1 - level):.4g} % interval"
    figures = _points(probes, f" points of {MEASURES[metric]}, {interval}")
    against_head = "" if head is None else f"; against {name_b}'s head {_points(head)}"
    came_to = outcome(probes, head)
    if came_to == "a":
        return f"{name_a} beats {name_b} ({figures}, {evidence}{against_head})"
    if came_to == "a's probe" and head is not None:
        but = (
            f"{name_b}'s head beats {name_a}'s probe ({_points(head)})"
            if head.is_shown
            else f"no difference shown against {name_b}'s head ({_points(head)}{_shows(head)})"
        )
        return f"{name_a}'s probe beats {name_b}'s probe ({figures}, {evidence}), but {but}"
    figures = f"{figures} for {name_a} minus {name_b}, {evidence}{against_head}"
    if came_to == "b":
        return f"{name_b} beats {name_a} ({figures})"
    return f"no difference shown ({figures}{_shows(probes)})"


def _points(d: Difference, unit: str = " points,") -> str:
    low, high = (100 * bound for bound in d.interval)
    return f"{100 * d.difference:+.2f}{unit} {low:+.2f} to {high:+.2f}"


def _shows(d: Difference) -> str:
    if d.smallest == 0:  # no variance, from which nothing can be said
        return ""
    smallest = f"{100 * d.smallest:.2f} points"
    return f"; the smallest difference that this comparison shows 4 times in 5 is {smallest}"
