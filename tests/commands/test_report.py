"""python search/report.py: the report anew, from the log alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.report import main
from search.reporting.files import outcome, write_report
from tests import reported as studies
from tests.written import WrittenStudy


def report(study: WrittenStudy) -> dict[Path, str]:
    """All that is written beside the log."""
    files = [path for path in study.folder.path.rglob("*") if path.is_file()]
    return {path: path.read_text() for path in files if path != study.folder.events}


def test_a_lost_report_is_written_again_as_it_was_while_somebody_works_on_the_study(
    confirmed: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = write_report(confirmed)
    before, log = report(confirmed), confirmed.folder.events.read_bytes()
    assert len(before) >= 7  # page, Markdown, summary, curves, trials, and a winner an arm
    for path in before:
        path.unlink()
    assert main([str(confirmed.folder.path)]) == 0
    assert report(confirmed) == before
    assert confirmed.folder.events.read_bytes() == log
    said = capsys.readouterr().out
    assert said == f"{outcome(summary)}\nwrote {confirmed.folder.page}\n"


def test_who_does_not_wait_for_what_is_missing_has_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies.searched(tmp_path)
    studies.confirm(study, 3)

    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.report.pictures_later", lambda _: {})
    monkeypatch.setattr("search.report.examined_later", interrupt)
    assert main([str(study.folder.path)]) == 130
    said = capsys.readouterr()
    assert "examine   6 tested runs beyond accuracy, here; each is kept when done\n" in said.out
    assert said.err == "interrupted; what was computed is kept, and the answer is written\n"
    assert study.folder.summary.exists()


def test_a_study_that_is_not_there_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"error: {tmp_path}/events.jsonl: there is no such study\n"


def test_a_folder_that_cannot_be_written_is_named(
    confirmed: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    confirmed.folder.summary.mkdir()  # in the way of the file
    assert main([str(confirmed.folder.path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {confirmed.folder.summary}: cannot be written")
