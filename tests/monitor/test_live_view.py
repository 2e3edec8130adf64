"""The view at the bottom of a terminal while a search runs."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from search.monitor.event_lines import Progress
from search.monitor.live_view import live_view
from tests.monitor.test_standing import Study
from tests.whole.test_search import ROOT, SMALL

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """What stands for stdout and stderr while `view` lasts."""

    def isatty(self) -> bool:
        return True

    @contextmanager
    def view(self, study: Study) -> Iterator[Callable[[], None]]:
        with redirect_stdout(self), redirect_stderr(self):
            try:
                with live_view(study.space, study.journal) as poll:
                    yield poll
            finally:
                assert sys.stdout is self
                assert sys.stderr is self


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr("search.monitor.live_view.PERIOD", 0)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", "40")):
        monkeypatch.setenv(name, value)
    return Terminal()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_the_view_stays_below_what_is_printed_and_leaves_no_trace(
    study: Study, terminal: Terminal
) -> None:
    with terminal.view(study) as poll:
        study.ask("ce", 0)
        poll()
        print("a line")
        print("a warning", file=sys.stderr)
        assert terminal.getvalue().startswith(HIDE)
        before, _, after = terminal.getvalue().rpartition("a line\n")
        assert "\nce-0 " in before
        assert "\nce-0 " in after  # drawn anew below the line
        assert "a warning\n" in after
    assert terminal.getvalue().rpartition(SHOW)[2].replace("\x1b[1A\x1b[2K", "") == "\r"


def test_a_line_for_an_event_is_printed_whole_however_long(
    study: Study, terminal: Terminal
) -> None:
    study.journal.listeners.append(Progress(study.space, study.journal))
    with terminal.view(study):
        study.trial("ce", 0, 0.8765)
    line = "completed  epoch   9/9  probe 87.65%   | ce: best 87.65% (ce-0), 9/36 epochs\n"
    assert f"0:00:00  ce-0               {line}" in terminal.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_terminal_is_restored_whatever_ends_a_search(
    study: Study, terminal: Terminal, error: type[BaseException]
) -> None:
    with pytest.raises(error), terminal.view(study):
        raise error
    assert terminal.getvalue().rindex(SHOW) > terminal.getvalue().rindex(HIDE)


def test_time_is_seen_to_go_by_but_not_more_often_than_twice_a_second(
    study: Study, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.monitor.live_view.PERIOD", 0.5)
    clock = [100.0]
    monkeypatch.setattr("search.monitor.live_view.time.monotonic", lambda: clock[0])
    with terminal.view(study) as poll:
        for moment in (100.0, 100.4, 100.5, 100.9, 101.1):
            clock[0] = moment
            poll()
        assert terminal.getvalue().count("searching") == 3


def test_without_a_terminal_nothing_is_printed(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    with live_view(study.space, study.journal) as poll:
        poll()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_that_can_only_print_lines_gets_lines(
    study: Study, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal.view(study) as poll:
        poll()
        print("a line")
    assert terminal.getvalue() == "a line\n"


def test_errors_that_go_to_a_file_go_on_to_it(study: Study, terminal: Terminal) -> None:
    file, view = io.StringIO(), live_view(study.space, study.journal)
    with redirect_stdout(terminal), redirect_stderr(file), view:
        print("an error", file=sys.stderr)
    assert file.getvalue() == "an error\n"
    assert "an error" not in terminal.getvalue()


@pytest.mark.parametrize("broken", ["standing", "View"])
def test_a_view_that_fails_is_said_and_the_search_goes_on(
    study: Study, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise ValueError("a [bug]")

    with terminal.view(study) as poll:
        monkeypatch.setattr(f"search.monitor.live_view.{broken}", fail)
        poll()
        print("a line")
    assert "a line\n" in terminal.getvalue()
    assert "no live view: a [bug]" in terminal.getvalue()


def test_a_board_that_ray_has_pickled_draws_nothing(study: Study, terminal: Terminal) -> None:
    with terminal.view(study) as poll:
        before = terminal.getvalue()
        cloudpickle.loads(cloudpickle.dumps(poll))()
        assert terminal.getvalue() == before


# A real search in a terminal


class Search:
    """A search whose output goes to a terminal of 100 columns."""

    def __init__(self, home: Path, results: Path) -> None:
        self.screen, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (40, 100))
        self.before = termios.tcgetattr(terminal)
        environment = os.environ | {"HOME": str(home), "RAY_TMPDIR": str(home), "TERM": "xterm"}
        run, space = str(ROOT / "search" / "run.py"), str(ROOT / "spaces" / "digits.yaml")
        self.process = subprocess.Popen(
            [sys.executable, run, "--space", space, "--results", str(results), *SMALL],
            env=environment, cwd=home, start_new_session=True,
            stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip
        self.terminal = terminal  # kept open: it outlives the search, as a person's does
        self.output = ""

    def read_until(self, text: str) -> None:
        """Wait until the terminal has shown a text."""
        for _ in range(3000):
            if text in self.output:
                return
            assert self.process.poll() is None, self.output
            self._read(0.1)
        raise AssertionError(f"{text} was never shown: {self.output}")

    def stop(self, number: signal.Signals) -> None:
        """Ctrl-C reaches the whole group, as in a terminal, and `kill` the search alone."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def end(self) -> int:
        while self.process.poll() is None:
            self._read(0.1)
        while self._read(0.1):
            pass
        assert termios.tcgetattr(self.terminal) == self.before
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        has_more = bool(select.select([self.screen], [], [], seconds)[0])
        if has_more:
            self.output += os.read(self.screen, 65536).decode(errors="replace")
        return has_more


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for Ray's files; its path is short, since sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "last"),
    [
        ([signal.SIGINT], "interrupted; go on with the same --space and --name digits --resume"),
        ([signal.SIGTERM], "interrupted; go on with the same --space and --name digits --resume"),
        ([signal.SIGINT] * 2, "interrupted; a study that was started goes on with --resume"),
    ],
)
def test_a_search_in_a_terminal_shows_lines_and_a_view_and_restores_it_when_it_is_stopped(
    home: Path, tmp_path: Path, signals: list[signal.Signals], last: str
) -> None:
    search = Search(home, tmp_path)
    search.read_until("| supcon: best ")
    search.read_until("  supcon-2 ")  # three have ended: a pace is known, also between two trials
    status = [sys.executable, str(ROOT / "search" / "status.py"), str(tmp_path)]
    seen = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    assert re.match(r"digits +searching +\d:\d\d:\d\d ", seen)
    for number in signals:
        search.stop(number)
        search.read_until("stopping at the next record; press Ctrl-C again to stop at once\r\n")
    assert search.end() == 130, search.output
    view, _, after = search.output.rpartition(SHOW)
    assert HIDE in view
    assert HIDE not in after
    view, after = (re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text) for text in (view, after))
    assert re.search(r"[\r\n]\d:\d\d:\d\d  supcon-0 +completed  epoch   3/3  probe ", view)
    assert "╭─ supcon ──" in view
    assert "╭" not in after
    assert after.endswith(f"{last}\r\n")
    for noise in ("Traceback", "SIGTERM received", "no live view"):
        assert noise not in view + after
