"""Where things of a study lie, and which study is meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.log.folder import StudyFolder, find_study, newest_of
from supcon.parsing import UserError

ROOT = Path(__file__).resolve().parents[2]


def write(results: Path, *names: str) -> None:
    """Logs of studies, each newer than the one before."""
    for at, name in enumerate(names):
        (results / name).mkdir(parents=True)
        (results / name / "events.jsonl").touch()
        os.utime(results / name / "events.jsonl", (at, at))


def test_a_study_is_found_by_its_folder_or_as_the_newest_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "a", "c", "b")
    (tmp_path / "empty").mkdir()
    assert find_study(tmp_path / "a") == StudyFolder(tmp_path / "a")
    assert find_study(tmp_path) == StudyFolder(tmp_path / "b")


def test_a_repeat_of_a_study_may_be_the_newest(tmp_path: Path) -> None:
    write(tmp_path, "a", "b/repeat-1", "b/repeat-2")
    assert find_study(tmp_path).path == tmp_path / "b" / "repeat-2"


def test_where_no_study_is_it_says_what_to_give(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="holds no study; give a study's folder, for example"):
            find_study(path)


def test_the_newest_study_of_a_space_is_called_like_it_or_numbered(tmp_path: Path) -> None:
    write(tmp_path, "x", "x-2", "x-10", "x-wide", "x-2-3", "xy")
    found = newest_of(tmp_path, "x")
    assert found is not None
    assert found.name == "x-10"
    assert newest_of(tmp_path, "x.2") is None  # a dot is no wildcard


def test_all_that_lies_in_a_studys_folder_is_documented() -> None:
    text = (ROOT / "results" / "README.md").read_text()
    study = StudyFolder(Path("s"))
    lies = [study.events, study.summary, study.page, study.database, study.tensorboard]
    lies += [study.best("ce"), study.checkpoint("ce-0"), study.model("ce-confirm-0")]
    for path in lies:
        inside = path.relative_to("s").parts
        assert inside[0] in text, inside
        assert inside[-1] in text or inside[0] == "best", inside


def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be looked at \(File name too long\)"):
        find_study(tmp_path / ("x" * 300))
