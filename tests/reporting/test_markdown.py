"""report.md: what it says, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.reporting.markdown import escaped, markdown, question
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
    assert "## Images\n\n- 2 of 120 images of test (1.7%) have a copy in train (1 equal" in text
    assert "importance (PED-ANOVA, " in text


def test_what_there_is_not_is_left_out(tmp_path: Path) -> None:
    text = markdown(summarise(unsearched(tmp_path)))
    assert "- ce: none, no trial was trained to the end" in text
    for absent in (
        "p = ",
        "## Images",
        "## Class by class",
        "## Parameters",
        "best score by",
        "\n\n\n",
        "None",
    ):
        assert absent not in text


def test_a_leader_is_not_called_a_winner_yet(study: WrittenStudy) -> None:
    text = markdown(summarise(study))
    assert "- supcon: trial 1 of 3 (leads the search, not confirmed yet), lr_per_256=0.2" in text
    assert "fresh seeds: a drop" not in text


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("golden_retriever", "golden_retriever"),
        ("_background_", r"\_background\_"),
        ("$5 and $10", r"\$5 and \$10"),
        ("a|b", r"a\|b"),
        ("<b>", r"\<b\>"),
        ("`x`*", r"\`x\`\*"),
        ("名前", "名前"),
    ],
)
def test_a_name_is_written_so_that_markdown_shows_it(name: str, written: str) -> None:
    assert escaped(name) == written


def test_names_of_classes_do_not_break_their_table(summary: Summary) -> None:
    assert summary.per_class is not None
    named = replace(summary.per_class, classes=["a|b", "_x_", "名前"])
    text = markdown(summary.model_copy(update={"per_class": named}))
    rows = [
        line for line in text.splitlines() if line.startswith((r"| a\|b", r"| \_x\_", "| 名前"))
    ]
    assert len(rows) == 3
    assert {row.replace(r"\|", "").count("|") for row in rows} == {5}


@pytest.mark.parametrize(
    ("arms", "asked"),
    [
        (["supcon", "ce"], "does SupCon beat cross entropy here?"),
        (["sincere", "plain"], "which is better here, sincere or plain?"),
        (["supcon"], "how good is supcon here?"),
    ],
)
def test_the_question_names_what_is_compared(summary: Summary, arms: list[str], asked: str) -> None:
    some = next(iter(summary.arms.values()))
    assert question(summary.model_copy(update={"arms": dict.fromkeys(arms, some)})) == asked
