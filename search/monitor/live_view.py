"""The live view: where a search stands, at the bottom of the terminal while it runs.

What is printed meanwhile, a line for every event and anything else, scrolls above it. Without a
terminal there is no view, and the lines are all there is.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from search.log.study import Study
from search.monitor.standing import Standing, standing
from search.monitor.terminal_view import View
from supcon.parsing import one_line

PERIOD = 0.5  # seconds after which the view is drawn anew; each line that is printed does so too
SHARE = 2 / 3  # of the terminal's lines that it may fill


class Board:
    """What is drawn.

    A search is worth more than its picture: what goes wrong here is shown in place of the view, and
    the search goes on.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.now: Standing | None = None
        self.problem = ""

    def look(self) -> None:
        """See where the search stands, while its log is not being written."""
        try:
            with self.study.log.mutex:
                self.now = standing(self.study, time.time())
            self.problem = ""
        except Exception as error:
            self.problem = one_line(error)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich, also for each line that is printed."""
        drawn: list[Any] = []
        try:
            if self.now is not None and not self.problem:
                view = View(self.now, int(console.height * SHARE))
                options = options.update(no_wrap=False, overflow="fold")  # unlike printed lines
                drawn = list(console.render(Group("", view), options))
        except Exception as error:
            self.problem = one_line(error)
        yield from [Text(f"no live view: {self.problem}")] if self.problem else drawn


@contextmanager
def live_view(study: Study) -> Iterator[None]:
    """Show where a search stands for as long as the block runs, on a terminal that can.

    A thread looks and draws; it never holds the log and the terminal at once, which whoever prints
    while an event is appended does in the other order.
    """
    console = Console(soft_wrap=True)  # printed lines stay as they are, the terminal breaks them
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        yield
        return
    board, is_over = Board(study), threading.Event()
    with Live(
        board,
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stderr=sys.stderr.isatty(),  # what goes to a file goes on to it
    ) as live:
        thread = threading.Thread(target=_draw, args=(board, live, is_over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def _draw(board: Board, live: Live, is_over: threading.Event) -> None:
    while not is_over.wait(PERIOD):
        board.look()
        try:
            live.refresh()
        except Exception:  # the terminal is gone; the search goes on
            return
