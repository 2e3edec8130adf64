"""What is said of a comparison, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from search.judge.comparison import Difference, compare
from search.judge.sentence import methods_sentence, sentence


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


def test_the_sentence_about_methods_speaks_of_methods_and_of_their_test_images() -> None:
    found = [0.01, 0.012, 0.011]
    shared = methods_sentence("supcon", "ce", found, None, n_searches=3, same_test_images=True)
    assert shared.startswith("The methods, searched like this on this data set: supcon beats ce (")
    assert "3 searches, all scored on the same test images" in shared
    own = methods_sentence("supcon", "ce", found, None, n_searches=3, same_test_images=False)
    assert "same test images" not in own


def test_methods_too_must_beat_the_head() -> None:
    probes, head = [0.01, 0.012, 0.011], [0.01, -0.01, 0.0]
    text = methods_sentence("supcon", "ce", probes, head, n_searches=3, same_test_images=False)
    assert "no difference shown against ce's head" in text


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_sentence_about_methods_says_why_too_few_searches_say_nothing(n: int) -> None:
    text = methods_sentence("supcon", "ce", [0.01] * n, None, n_searches=n, same_test_images=True)
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
    found = [0.01, 0.012, 0.011][:n]
    text = methods_sentence("supcon", "ce", found, None, n_searches=5, same_test_images=True)
    assert words in text
