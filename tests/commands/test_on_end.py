"""--on-end: who is told what, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import run as command
from search.on_end import OnEnd
from search.preflight.options import Options
from search.reporting.files import write_report
from supcon.parsing import UserError
from tests.written import WrittenStudy

SHOW = 'printf "%s\\n" "$SUPCON_EXIT_CODE" "$SUPCON_VERDICT" "$SUPCON_REPORT" "$SUPCON_ERROR"'


def told(tmp_path: Path) -> list[str]:
    return (tmp_path / "told").read_text().splitlines()


def test_the_command_knows_the_verdict_and_where_the_report_lies(
    confirmed: WrittenStudy, tmp_path: Path
) -> None:
    verdict = write_report(confirmed).verdict.text
    end = OnEnd(f"({SHOW}) > {tmp_path}/told")
    end.study = confirmed.folder.path
    end.tell(0)
    assert told(tmp_path) == ["0", verdict, str(confirmed.folder.page), ""]


def test_a_search_that_failed_before_it_had_a_study_is_told_too(tmp_path: Path) -> None:
    end = OnEnd(f"({SHOW}) > {tmp_path}/told")
    end.tell(2, "run.epochs must be positive")
    assert told(tmp_path) == ["2", "", "", "run.epochs must be positive"]


@pytest.mark.parametrize(("text", "why"), [("exit 3", "exit code 3"), ("a\0b", "null byte")])
def test_a_command_that_fails_is_one_line(
    capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    OnEnd(text).tell(0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--on-end ")
    assert why in line


@pytest.mark.parametrize(
    ("end", "code", "lines"),
    [(0, 0, ["0", ""]), (1, 1, ["1", ""]), (UserError("bad key"), 2, ["2", "bad key"]),
     (OSError(28, "No space"), 2,
      ["2", "[Errno 28] No space; a study that was started goes on with --resume"]),
     (75, 75, None), (130, 130, None), (KeyboardInterrupt(), 130, None)],
)  # fmt: skip
def test_every_end_is_told_but_that_of_a_search_that_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: int | BaseException, code: int,
    lines: list[str] | None,
) -> None:  # fmt: skip
    def run(options: Options, *_: object) -> int:
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr("search.run.run", run)
    shown = f'printf "%s\\n" "$SUPCON_EXIT_CODE" "$SUPCON_ERROR" > {tmp_path}/told'
    assert command.main(["--space", "x.yaml", "--on-end", shown]) == code
    assert (told(tmp_path) if lines else (tmp_path / "told").exists()) == (lines or False)


def test_a_fault_of_ours_is_told_before_its_trace_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("search.run.run", run)
    with pytest.raises(ZeroDivisionError):
        command.main(["--space", "x.yaml", "--on-end", f"({SHOW}) > {tmp_path}/told"])
    assert told(tmp_path) == ["1", "", "", "unexpected error"]
