"""report.md: what it says, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

from search.reporting.markdown import markdown
from search.reporting.summarise import summarise
from search.reporting.summary import Summary
from tests.reported import unsearched
from tests.written import WrittenStudy


def test_everything_that_was_found_is_said(summary: Summary) -> None:
    text = markdown(summary)
    for fact in ("p = 0.", "| cat ", "views after the search", "expected best of"):
        assert fact in text
    assert "\nOpened 2 times; 6 runs scored.\n" in text
    assert "supcon, confirm (supcon-confirm-0, supcon-confirm-1, supcon-confirm-2), commit" in text
    assert "on fresh seeds: a drop of " in text
    assert "Kendall's tau" in text
    assert "importance (PED-ANOVA, " in text


def test_what_there_is_not_is_left_out(tmp_path: Path) -> None:
    text = markdown(summarise(unsearched(tmp_path)))
    assert "- ce: none, no trial was trained to the end" in text
    for absent in ("p = ", "## Class by class", "## Parameters", "best score by", "\n\n\n", "None"):
        assert absent not in text


def test_a_leader_is_not_called_a_winner_yet(study: WrittenStudy) -> None:
    text = markdown(summarise(study))
    assert "- supcon: trial 1 of 3 (leads the search, not confirmed yet), lr_per_256=0.2" in text
    assert "fresh seeds: a drop" not in text
