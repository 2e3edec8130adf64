"""The view at the bottom of a terminal while a search runs."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest

from search.log.study import Study
from search.monitor.event_lines import EventLines
from search.monitor.live_view import Board, live_view
from tests.written import WrittenStudy

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """What stands for stdout and stderr while `view` lasts."""

    def isatty(self) -> bool:
        return True

    @contextmanager
    def view(self, study: Study) -> Iterator[None]:
        with redirect_stdout(self), redirect_stderr(self):
            try:
                with live_view(study):
                    yield
            finally:
                assert sys.stdout is self
                assert sys.stderr is self

    def wait_for(self, text: str, times: int = 1) -> None:
        """Until the view has shown it so often."""
        for _ in range(1000):
            if self.getvalue().count(text) >= times:
                return
            time.sleep(0.01)
        raise AssertionError(f"{text} was never shown: {self.getvalue()}")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr("search.monitor.live_view.PERIOD", 0.01)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", "40")):
        monkeypatch.setenv(name, value)
    return Terminal()


def test_the_view_stays_below_what_is_printed_and_leaves_no_trace(
    study: WrittenStudy, terminal: Terminal
) -> None:
    with terminal.view(study):
        study.ask("ce", 0)
        terminal.wait_for("\nce-0 ")
        print("a line")
        print("a warning", file=sys.stderr)
        assert terminal.getvalue().startswith(HIDE)
        before, _, after = terminal.getvalue().rpartition("a line\n")
        assert "\nce-0 " in before
        assert "\nce-0 " in after  # drawn anew below the line
        assert "a warning\n" in after
    assert terminal.getvalue().rpartition(SHOW)[2].replace("\x1b[1A\x1b[2K", "") == "\r"


def test_a_line_for_an_event_is_printed_whole_however_long(
    study: WrittenStudy, terminal: Terminal
) -> None:
    study.log.listeners.append(EventLines(study))
    with terminal.view(study):
        study.trial("ce", 0, 0.8765)
    line = "completed  epoch   9/9  probe 87.65%   | ce: best 87.65% (ce-0), 9/36 epochs\n"
    assert f"0:00:00  ce-0               {line}" in terminal.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_terminal_is_restored_whatever_ends_a_search(
    study: WrittenStudy, terminal: Terminal, error: type[BaseException]
) -> None:
    with pytest.raises(error), terminal.view(study):
        raise error
    assert terminal.getvalue().rindex(SHOW) > terminal.getvalue().rindex(HIDE)


def test_time_is_seen_to_go_by_but_once_a_period_at_most(
    study: WrittenStudy, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.monitor.live_view.PERIOD", 0.1)
    start = time.monotonic()
    with terminal.view(study):
        terminal.wait_for("searching", times=3)
        n_drawn = terminal.getvalue().count("searching")
    assert n_drawn <= (time.monotonic() - start) / 0.1


def test_nothing_is_drawn_once_a_search_has_ended(study: WrittenStudy, terminal: Terminal) -> None:
    n_threads = threading.active_count()
    with terminal.view(study):
        terminal.wait_for("searching")
        assert threading.active_count() > n_threads
    before = terminal.getvalue()
    time.sleep(0.05)
    assert (terminal.getvalue(), threading.active_count()) == (before, n_threads)


def test_the_log_is_read_while_nobody_writes_it(study: WrittenStudy) -> None:
    board = Board(study)
    looking = threading.Thread(target=board.look)
    with study.log.mutex:
        looking.start()
        looking.join(0.1)
        assert board.now is None
    looking.join()
    assert board.now is not None


def test_lines_that_are_printed_while_the_log_is_held_do_not_wait_for_the_view(
    study: WrittenStudy, terminal: Terminal
) -> None:
    study.log.listeners.append(EventLines(study))

    def search() -> None:
        with terminal.view(study):
            for number in range(100):
                study.ask("ce", number)
                study.end("ce", number, "diverged")

    searching = threading.Thread(target=search, daemon=True)  # locked for ever, it ends with us
    searching.start()
    searching.join(30)
    assert not searching.is_alive()
    assert terminal.getvalue().count(" diverged   | ") == 100


def test_without_a_terminal_nothing_is_printed(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.monitor.live_view.PERIOD", 0)
    with live_view(study):
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_that_can_only_print_lines_gets_lines(
    study: WrittenStudy, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal.view(study):
        time.sleep(0.05)
        print("a line")
    assert terminal.getvalue() == "a line\n"


def test_errors_that_go_to_a_file_go_on_to_it(study: WrittenStudy, terminal: Terminal) -> None:
    file, view = io.StringIO(), live_view(study)
    with redirect_stdout(terminal), redirect_stderr(file), view:
        print("an error", file=sys.stderr)
    assert file.getvalue() == "an error\n"
    assert "an error" not in terminal.getvalue()


@pytest.mark.parametrize("broken", ["standing", "View"])
def test_a_view_that_fails_is_said_and_the_search_goes_on(
    study: WrittenStudy, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise ValueError("a [bug]")

    with terminal.view(study):
        terminal.wait_for("searching")
        monkeypatch.setattr(f"search.monitor.live_view.{broken}", fail)
        terminal.wait_for("no live view: a [bug]")
        print("a line")
    assert "a line\n" in terminal.getvalue()
