"""The files of a report: which there are, and that they say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.reporting.files import outcome, write_report
from search.reporting.summary import Summary
from search.space.loading import load_space
from search.strategy.search_order import SearchOrder
from search.strategy.winners import best_config
from supcon.config import load_config
from supcon.parsing import UserError
from tests.reported import confirm, unsearched
from tests.written import WrittenStudy


def test_the_summary_on_disk_is_the_one_returned_and_holds_what_is_documented(
    study: WrittenStudy,
) -> None:
    confirm(study, 3)
    summary = write_report(study)
    written = json.loads(study.folder.summary.read_text())
    assert written == summary.model_dump(mode="json")
    documented = {"study", "metric", "commit", "versions", "arms", "verdict", "test_evaluations"}
    assert documented <= set(written)


def test_every_form_of_the_report_has_the_verdict(report: Path) -> None:
    for name in ("report.html", "report.md", "summary.json"):
        text = (report / name).read_text()
        assert "These two configurations on this split: " in text


def test_a_study_without_a_finished_trial_still_has_a_report(tmp_path: Path) -> None:
    study = unsearched(tmp_path)
    study.ask("ce", 0, params={})
    summary = write_report(study)
    assert summary.arms["ce"].best is None
    assert summary.arms["ce"].outcomes == {"unfinished": 1}
    assert not (study.folder.path / "best").exists()


def test_the_config_of_each_winner_is_written(study: WrittenStudy) -> None:
    write_report(study)
    for arm in ("supcon", "ce"):
        assert load_config(study.folder.best(arm)) == best_config(study, arm)


def test_a_wider_space_is_written_where_the_summary_says(study: WrittenStudy) -> None:
    assert write_report(study).wider is None
    study.ask("ce", 3, params={"optim.lr_per_256": 1.0})
    study.report("ce", 3, 9, 0.95)
    study.end("ce", 3, "completed")
    summary = write_report(study)
    assert summary.wider == "x.wider.yaml"
    wider = load_space(study.folder.path / summary.wider, {})
    assert wider.params["optim.lr_per_256"].values == (0.01, 10)


def test_a_file_that_cannot_be_written_is_named(study: WrittenStudy) -> None:
    (study.folder.path / "report.md").mkdir()
    with pytest.raises(UserError, match=r"report\.md: cannot be written \("):
        write_report(study)


def test_a_terminal_gets_the_table_the_verdict_and_every_warning(summary: Summary) -> None:
    warned = summary.verdict.model_copy(update={"warnings": ["first", "second"]})
    text = outcome(summary.model_copy(update={"verdict": warned}))
    assert "| supcon winner | linear probe " in text
    assert f"\n\n{summary.verdict.text}\nwarning: first\nwarning: second\n" in text


def test_without_a_verdict_a_terminal_gets_the_reason_before_any_table(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, val_counts=(36,) * 10, budget={"trials": 99, "give_up": 2})
    study.follow(SearchOrder(study), score=lambda ask: 0.1)
    summary = write_report(study)
    lines = outcome(summary).splitlines()
    assert lines[1].startswith("No verdict: every trial scores at chance, at most 10.0% on val")
    assert lines[3].startswith("| row")
    assert [facts.best for facts in summary.arms.values()] == [None, None]
    for name in ("report.md", "report.html"):
        text = (study.folder.path / name).read_text()
        assert text.index("No verdict: every trial scores at chance") < text.index("Scores")
    assert "- ce: none, it gave up after 2 trials" in (study.folder.path / "report.md").read_text()
    assert "none: gave up" in study.folder.page.read_text()
