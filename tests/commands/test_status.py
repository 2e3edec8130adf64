"""python search/status.py: where a study stands, from its log alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.reporting.files import write_report
from search.status import main
from tests.written import WrittenStudy

ROOT = Path(__file__).resolve().parents[2]
STATUS = str(ROOT / "search" / "status.py")


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def say(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """What the command prints when all is well."""
    assert main([str(argument) for argument in arguments]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def finished(confirmed: WrittenStudy) -> WrittenStudy:
    """A study in which nothing is left to do, but the report."""
    for arm in confirmed.arms:
        confirmed.test(arm, [0, 1, 2], 3)
    confirmed.log.close()
    return confirmed


def test_a_study_that_a_process_works_on_is_searching(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = WrittenStudy(tmp_path)
    study.trial("ce", 0, 0.8765)
    study.ask("supcon", 0)
    said = say(capsys, tmp_path / "x")
    assert re.match(r"x +searching +\d+:\d\d:\d\d +1 running\n", said)
    assert "best 87.65%  ce-0" in said
    assert "supcon-0" in said
    assert "--resume" not in said
    assert "\x1b" not in said  # no colours without a terminal


def test_looking_neither_writes_nor_takes_the_claim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = WrittenStudy(tmp_path)
    study.ask("ce", 0)
    before = files(tmp_path)
    say(capsys, tmp_path / "x")
    assert files(tmp_path) == before
    assert study.log.is_claimed()
    study.log.close()
    say(capsys, tmp_path / "x")
    assert files(tmp_path) == before
    study.log.claim()


def test_a_study_that_nobody_works_on_says_how_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = WrittenStudy(tmp_path)
    study.ask("ce", 0)
    study.log.close()
    said = say(capsys, tmp_path / "x")
    assert re.match(r"x +interrupted +0:00:10 +1 open\n", said)
    assert said.endswith("go on with the same --space and --name x --resume\n")


def test_a_study_without_trials_can_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WrittenStudy(tmp_path).log.close()
    said = say(capsys, tmp_path / "x")
    assert "interrupted" in said
    assert said.count("no full-length trial yet") == 2


def test_a_torn_last_line_does_not_count_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = WrittenStudy(tmp_path)
    study.ask("ce", 0)
    with study.log.path.open("a") as log:
        log.write('{"event":"end","arm":"ce","ph')
    assert "1 running" in say(capsys, tmp_path / "x")
    assert study.log.path.read_text().endswith('"ph')


def test_a_finished_study_shows_its_verdict_and_where_its_report_is(
    finished: WrittenStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = say(capsys, tmp_path / "x")
    assert "finished" in said
    assert said.endswith(f"python search/report.py {tmp_path}/x\n")
    for trial in finished.log.trials.values():
        trial.tested = None  # these scores were written by hand: the report has no use for them
    verdict = write_report(finished).verdict.text
    assert "No verdict" in verdict
    said = say(capsys, tmp_path / "x")
    assert verdict not in said  # no run was tested when it was written
    file = tmp_path / "x" / "summary.json"
    file.write_text(file.read_text().replace('"test_evaluations": 0', '"test_evaluations": 6'))
    said = say(capsys, tmp_path / "x")
    assert said.endswith(f"{verdict}\nreport    {tmp_path}/x/report.html\n")
    assert "fresh seeds: 6/6 to confirm them\n" in said
    assert "test images: opened 2 times, 6 runs scored\n" in said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"arms": {"ce": 3}}', '{"arms": 3}'])
def test_a_damaged_summary_is_no_report(
    finished: WrittenStudy, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    finished.folder.summary.write_text(text)
    assert "its report is not written" in say(capsys, finished.folder.path)


def test_without_a_study_the_newest_one_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in ((30, "results/old"), (10, "results/new/repeat-1"), (20, "results/other")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        WrittenStudy(tmp_path).log.path.parent.rename(tmp_path / name)
        os.utime(tmp_path / name / "events.jsonl", (1000 - age, 1000 - age))
    assert say(capsys).startswith("repeat-1 ")
    assert say(capsys, "results").startswith("repeat-1 ")
    assert say(capsys, "results/new").startswith("repeat-1 ")
    assert say(capsys, "results/old").startswith("old ")


def refuse(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    """The one line that the command prints when something is wrong."""
    assert main([str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_folder_without_a_study_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "holds no study; give a study's folder, for example results/digits"
    assert f"{tmp_path}: {message}" in refuse(capsys, tmp_path)
    assert f"nowhere: {message}" in refuse(capsys, tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert f"file: {message}" in refuse(capsys, tmp_path / "file")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("\n", "\n{}\n", "events.jsonl: line 2 is damaged"),
        ('"space":{', '"space":{"what":1,', "events.jsonl: unknown key 'what'"),
    ],
)
def test_a_damaged_log_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, message: str
) -> None:
    log = WrittenStudy(tmp_path).log.path
    log.write_text(log.read_text().replace(before, after))
    assert message in refuse(capsys, tmp_path / "x")


def test_it_starts_from_any_folder_without_ray_torch_or_optuna(tmp_path: Path) -> None:
    WrittenStudy(tmp_path).log.close()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", STATUS, "x"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("x ")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "search.monitor.standing" in imported
    assert not imported & {"ray", "torch", "optuna", "plotly", "sklearn"}
