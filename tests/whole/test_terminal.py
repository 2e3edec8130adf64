"""A real search in a terminal: its view, and signals that stop it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.programs import Forked
from tests.whole.searching import DIGITS, QUICK_RUN, ROOT, SMALL, story
from tests.without_ray import searched

pytestmark = pytest.mark.slow

FEW, MANY = "4", "90"  # trials: a search that goes on to its end, and one that must not end
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Search:
    """A search whose output goes to a terminal of 100 columns."""

    def __init__(self, home: Path, results: Path, trials: str) -> None:
        self.screen, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (40, 100))
        self.before = termios.tcgetattr(terminal)
        environment = os.environ | {"HOME": str(home), "RAY_TMPDIR": str(home), "TERM": "xterm"}
        argv = [
            str(QUICK_RUN),
            "--space",
            DIGITS,
            "--results",
            str(results),
            *SMALL,
            "--trials",
            trials,
        ]
        self.process = Forked(argv, home, environment, Path(os.ttyname(terminal)))
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
        return self.process.wait()

    def _read(self, seconds: float) -> bool:
        has_more = bool(select.select([self.screen], [], [], seconds)[0])
        if has_more:
            self.output += os.read(self.screen, 65536).decode(errors="replace")
        return has_more


AGAIN = "press Ctrl-C again to stop at once"
RESUME = "go on with the same --space and --name digits --resume"


@pytest.mark.parametrize(
    ("signals", "code", "how", "last"),
    [
        ([signal.SIGTERM], 75, "asked by SIGTERM", RESUME),
        ([signal.SIGINT] * 2, 130, AGAIN, "a study that was started goes on with --resume"),
    ],
)
def test_a_search_in_a_terminal_shows_lines_and_a_view_and_restores_it_when_it_is_stopped(
    home: Path, tmp_path: Path, signals: list[signal.Signals], code: int, how: str, last: str
) -> None:
    search = Search(home, tmp_path, MANY)
    search.read_until("  supcon-2 ")  # three have ended: a pace is known, also between two trials
    status = [sys.executable, str(ROOT / "search" / "status.py"), str(tmp_path)]
    seen = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    assert re.match(r"digits +searching +\d:\d\d:\d\d ", seen)
    check_stopped(search, signals, code, how, last)


def test_ctrl_c_in_a_terminal_stops_cleanly_with_a_report_and_can_be_resumed(
    home: Path, tmp_path: Path
) -> None:
    search, study = Search(home, tmp_path, FEW), tmp_path / "digits"
    search.read_until("  supcon-2 ")
    check_stopped(search, [signal.SIGINT], 130, AGAIN, RESUME)
    assert "No verdict: the search is not over; go on with --resume" in search.output
    assert (study / "report.md").exists()
    done = {event[1] for event in story(study) if event[0] == "end"}
    code, output = searched("--space", DIGITS, "--results", str(tmp_path), "--resume")
    assert code == 0, output
    asked = [event[1] for event in story(study) if event[0] == "ask"]
    assert len(asked) == len(set(asked)) == 2 * (4 + 3)
    ends = [event[1] for event in story(study) if event[0] == "end"]
    assert len(ends) == len(set(ends))
    assert done <= set(ends)


def check_stopped(
    search: Search, signals: list[signal.Signals], code: int, how: str, last: str
) -> None:
    """What it has shown when it is stopped, and how it ends."""
    for number in signals:
        search.stop(number)
        search.read_until(f"stopping at the next record; {how}\r\n")
    assert search.end() == code, search.output
    view, _, after = search.output.rpartition(SHOW)
    assert HIDE in view
    assert HIDE not in after
    view, after = (re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text) for text in (view, after))
    assert re.search(r"[\r\n]\d:\d\d:\d\d  supcon-0 +pauses     epoch   1/3  probe ", view)
    assert "╭─ supcon ──" in view
    assert "╭" not in after
    assert after.endswith(f"interrupted; {last}\r\n")
    for noise in ("Traceback", "SIGTERM received", "no live view"):
        assert noise not in view + after
