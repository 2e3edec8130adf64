"""What a report says of code, machine, openings and commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.events import Started
from search.log.journal import Journal
from search.log.study import Study
from search.reporting.files import write_report
from search.reporting.provenance import as_typed, commands
from search.space.loading import parse_space
from tests.written import TREE


def opened(commit: str, torch: str, machine: str = "here") -> Started:
    versions = {"ray": "2", "torch": torch}
    return Started(study="x", space=TREE, commit=commit, versions=versions, machine=machine)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    log = Journal.create(tmp_path / "a b" / "events.jsonl", opened("abc", "2.8"))
    return Study(parse_space(TREE, "x"), log)


def test_everything_that_a_study_went_on_with_is_named_once(study: Study) -> None:
    changes = [("abc", "2.8"), ("def", "2.9"), ("def", "2.9"), ("abc", "2.8", "there")]
    for change in changes:
        study.log.append(opened(*change))
    summary = write_report(study)
    assert (summary.commit, summary.versions["torch"]) == ("abc", "2.8")
    assert [found.text for found in summary.resumed_with] == [
        "commit def (first abc), torch 2.9 (first 2.8)", "machine there (first here)",
    ]  # fmt: skip
    assert summary.resumed_with[0].versions == {"ray": "2", "torch": "2.9"}
    for name in ("report.md", "report.html"):
        text = (study.folder.path / name).read_text()
        assert text.count("commit def (first abc)") == text.count("there (first here)") == 1


def test_a_study_that_went_on_as_it_began_says_nothing_of_it(study: Study) -> None:
    study.log.append(opened("abc", "2.8"))
    assert write_report(study).resumed_with == []
    assert "Went on" not in (study.folder.path / "report.md").read_text()


def test_commands_name_the_folder_where_the_study_lies(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_report(study).reproduce == [f"python search/report.py '{tmp_path}/a b'"]
    monkeypatch.chdir(tmp_path)
    assert write_report(study).reproduce == ["python search/report.py 'a b'"]
    assert write_report(Study.open(Path("a b"))).reproduce == ["python search/report.py 'a b'"]


def test_each_command_is_told_once_and_winners_are_trained_by_their_files(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("search --a", "search --a --resume", "search --a"):
        study.log.append(opened("abc", "2.8").model_copy(update={"command": command}))
    assert commands(study, ["ce"]) == [
        "search --a",
        "search --a --resume",
        "python -m supcon train 'a b/best/ce.yaml'",
        "python search/report.py 'a b'",
    ]


def test_a_path_elsewhere_is_typed_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_typed(tmp_path / "x") == as_typed(Path("x")) == "x"
    assert as_typed(tmp_path.parent / "x") == str(tmp_path.parent / "x")
