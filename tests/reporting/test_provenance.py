"""What a report says of code, machine, openings and commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.log.events import Opened
from search.log.journal import Journal
from search.reporting.files import write_report

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
    "budget": {"trials": 3},
    "scheduler": "none",
}


def opened(commit: str, torch: str, machine: str = "here") -> Opened:
    versions = {"ray": "2", "torch": torch}
    return Opened(study="x", space=TREE, commit=commit, versions=versions, machine=machine)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "a b" / "events.jsonl", opened("abc", "2.8"))


def test_everything_that_a_study_went_on_with_is_named_once(journal: Journal) -> None:
    changes = [("abc", "2.8"), ("def", "2.9"), ("def", "2.9"), ("abc", "2.8", "there")]
    for change in changes:
        journal.append(opened(*change))
    summary = write_report(journal)
    assert (summary["commit"], summary["versions"]["torch"]) == ("abc", "2.8")
    assert [found["text"] for found in summary["resumed_with"]] == [
        "commit def (first abc), torch 2.9 (first 2.8)", "machine there (first here)",
    ]  # fmt: skip
    assert summary["resumed_with"][0]["versions"] == {"ray": "2", "torch": "2.9"}
    for name in ("report.md", "report.html"):
        text = (journal.path.parent / name).read_text()
        assert text.count("commit def (first abc)") == text.count("there (first here)") == 1


def test_a_study_that_went_on_as_it_began_says_nothing_of_it(journal: Journal) -> None:
    journal.append(opened("abc", "2.8"))
    assert write_report(journal)["resumed_with"] == []
    assert "Went on" not in (journal.path.parent / "report.md").read_text()


def test_commands_name_the_folder_where_the_study_lies(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_report(journal)["reproduce"] == [f"python search/report.py '{tmp_path}/a b'"]
    monkeypatch.chdir(tmp_path)
    assert write_report(journal)["reproduce"] == ["python search/report.py 'a b'"]
    journal.path = Path("a b/events.jsonl")
    assert write_report(journal)["reproduce"] == ["python search/report.py 'a b'"]
