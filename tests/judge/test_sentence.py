"""What is said of a comparison, and what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search.judge.comparison import compare
from search.judge.difference import Difference, Judged, methods
from search.judge.sentence import WithoutCopies, methods_sentence, outcome, sentence, with_copies


def known(difference: float, ci95: tuple[float, float], detectable: float = 0.04) -> Difference:
    return Difference(difference, ci95, 0.01, 3, 0.01, detectable)


@pytest.mark.parametrize(
    ("ci", "head", "words"),
    [
        ((0.01, 0.03), None, "supcon beats ce (+2.00 points"),
        ((0.01, 0.03), (0.001, 0.02), "supcon beats ce"),
        ((0.01, 0.03), (-0.01, 0.02), "no difference shown against ce's head"),
        ((0.01, 0.03), (-0.02, -0.01), "ce's head beats supcon's probe (-1.50 points"),
        ((-0.01, 0.03), (0.01, 0.02), "no difference shown (+1.00 points"),
        ((-0.03, -0.01), (0.01, 0.02), "ce beats supcon (-2.00 points"),
        ((-0.03, -0.01), None, "ce beats supcon"),
    ],
)
def test_supcon_wins_only_if_it_beats_probe_and_head(
    ci: tuple[float, float], head: tuple[float, float] | None, words: str
) -> None:
    text = sentence("supcon", "ce", known(sum(ci) / 2, ci), head and known(sum(head) / 2, head))
    assert words in text
    assert text.startswith("These two configurations on this split: ")
    assert text.count(". ") == 0
    assert ("4 times in 5 is 4.00 points" in text) == ("no difference shown" in text)
    assert (head is None) == ("head" not in text)


def test_without_any_variance_the_sentence_claims_no_smallest_difference() -> None:
    same = np.ones((3, 100), bool)
    text = sentence("supcon", "ce", compare(same, same), None)
    assert "no difference shown" in text
    assert "smallest" not in text


def said_of_methods(
    probes: Difference | None,
    head: Difference | None = None,
    *,
    n_judged: int = 3,
    n_searches: int = 3,
    same_test_images: bool = False,
) -> str:
    return methods_sentence(
        "supcon", "ce", probes, head, n_judged=n_judged, n_searches=n_searches,
        same_test_images=same_test_images,
    )  # fmt: skip


def test_the_sentence_about_methods_speaks_of_methods_and_of_their_test_images() -> None:
    found = methods([0.01, 0.012, 0.011])
    shared = said_of_methods(found, same_test_images=True)
    assert shared.startswith("The methods, searched like this on this data set: supcon beats ce (")
    assert "3 searches, all scored on the same test images" in shared
    own = said_of_methods(found)
    assert "same test images" not in own


def test_methods_too_must_beat_the_head() -> None:
    probes, head = methods([0.01, 0.012, 0.011]), methods([0.01, -0.01, 0.0])
    text = said_of_methods(probes, head)
    assert "no difference shown against ce's head" in text


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_sentence_about_methods_says_why_too_few_searches_say_nothing(n: int) -> None:
    text = said_of_methods(None, n_judged=n, n_searches=n)
    assert "no statement is possible" in text
    assert f"there are {n}." in text


@pytest.mark.parametrize(
    ("n", "words"),
    [(2, "there are 2 of 5 (the others gave no verdict)."),
     (3, ", 3 of 5 searches (the others gave no verdict), all scored on")],
)  # fmt: skip
def test_the_sentence_about_methods_counts_the_searches_without_a_verdict(
    n: int, words: str
) -> None:
    found = methods([0.01, 0.012, 0.011]) if n == 3 else None
    text = said_of_methods(found, n_judged=n, n_searches=5, same_test_images=True)
    assert words in text


@pytest.mark.parametrize(
    ("ci", "head", "found"),
    [
        ((0.01, 0.03), None, "a"),
        ((0.01, 0.03), (0.001, 0.02), "a"),
        ((0.01, 0.03), (-0.01, 0.02), "a's probe"),
        ((-0.01, 0.03), (0.01, 0.02), "none"),
        ((-0.03, -0.01), None, "b"),
    ],
)
def test_two_comparisons_agree_if_they_come_to_the_same_whatever_the_figures(
    ci: tuple[float, float], head: tuple[float, float] | None, found: str
) -> None:
    assert outcome(known(sum(ci) / 2, ci), head and known(sum(head) / 2, head)) == found


def test_a_verdict_that_stands_without_copies_says_so_in_a_sentence() -> None:
    found = WithoutCopies(36, 324, known(0.02, (0.01, 0.03)), None, agrees=True)
    assert with_copies("A wins.", "a", "b", found) == (
        "A wins. Without the 36 of 360 test images that have a copy in train it is the same "
        "(+2.00 points, +1.00 to +3.00)."
    )


def test_a_verdict_that_hangs_on_copies_says_that_first() -> None:
    found = WithoutCopies(36, 324, known(0.01, (-0.01, 0.03)), None, agrees=False)
    assert with_copies("A wins.", "a", "b", found) == (
        "The verdict hangs on test images that have a copy in train (36 of 360 test images). "
        "Without them: no difference shown (+1.00 points of test accuracy, 95 % interval -1.00 to "
        "+3.00 for a minus b, 3 seeds each; the smallest difference that this comparison shows 4 "
        "times in 5 is 4.00 points). With them: A wins."
    )


def test_where_all_test_images_are_copies_that_is_said_first() -> None:
    text = with_copies("A wins.", "a", "b", WithoutCopies(360, 0, None, None, agrees=False))
    assert text == (
        "360 of 360 test images have a copy in train: scores on them tell how well images are "
        "remembered, and nothing of new ones. A wins."
    )


def test_what_is_said_without_copies_names_the_groups_too() -> None:
    found = Difference(0.0, (-0.1, 0.1), 1.0, 3, 0.05, 0.1, n_groups=7)
    text = with_copies("all", "a", "b", WithoutCopies(5, 95, found, None, agrees=False))
    assert "3 seeds each, test images in 7 groups" in text


def test_one_of_several_comparisons_names_its_arms_its_level_and_how_many_there_are() -> None:
    level = 0.05 / 3
    judged = Judged(comparisons=3, level=level, interval=(0.001, 0.039), detectable=0.05)
    probes = replace(known(0.02, (0.005, 0.035)), judged=judged)
    assert sentence("a", "b", probes, None) == (
        "These configurations of a and b on this split: a beats b (+2.00 points of test accuracy, "
        "98.33 % interval +0.10 to +3.90, adjusted for 3 comparisons (Holm), 3 seeds each)."
    )
    none = replace(probes, judged=replace(judged, interval=(-0.001, 0.041)))
    text = sentence("a", "b", none, None)
    assert "no difference shown (+2.00 points of test accuracy, 98.33 % interval -0.10 to" in text
    assert "4 times in 5 is 5.00 points" in text
    found = WithoutCopies(36, 324, none, None, agrees=False)
    said = with_copies("A wins.", "a", "b", found)
    assert said.startswith("The verdict on a and b hangs on test images that have a copy in train")


def test_an_arm_beats_the_baseline_only_if_it_beats_its_head_at_the_same_level() -> None:
    probes, head = known(0.02, (0.01, 0.03)), known(0.01, (0.001, 0.019))
    assert outcome(probes, head) == "a"
    judged = Judged(comparisons=2, level=0.025, interval=(-0.001, 0.021), detectable=0.02)
    at_level = replace(probes, judged=replace(judged, interval=(0.008, 0.032)))
    assert outcome(at_level, replace(head, judged=judged)) == "a's probe"
