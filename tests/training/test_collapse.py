"""What is said of collapsed features."""

from __future__ import annotations

import pytest

from supcon.collapse import describe_collapse


@pytest.mark.parametrize(
    ("collapsed", "classes", "said"),
    [
        (0, 0, ""),
        (0, 1, "features equal within 1 class"),
        (0, 3, "features equal within 3 classes"),
        (1, 10, "all features equal"),
        (1, 0, "all features equal"),  # a single image of each class
    ],
)
def test_a_collapse_is_said_in_a_few_words(collapsed: int, classes: int, said: str) -> None:
    metrics = {"val/collapsed": float(collapsed), "val/collapsed_classes": float(classes)}
    assert describe_collapse(metrics) == said


def test_nothing_is_said_of_an_older_evaluation() -> None:
    assert describe_collapse({"val/probe_top1": 0.1}) == ""
