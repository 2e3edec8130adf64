"""The live view: where a search stands, at the bottom of the terminal while it runs.

What is printed meanwhile, a line for every event and anything else, scrolls above it. Without a
terminal there is no view, and the lines are all there is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from search.log.journal import Journal
from search.monitor.standing import Standing, standing
from search.monitor.terminal_view import View
from search.space.space import Space
from supcon.parsing import one_line

PERIOD = 0.5  # seconds after which the view is drawn anew; each line that is printed does so too
SHARE = 2 / 3  # of the terminal's lines that it may fill


class Board:
    """What is drawn, and when: in the thread that appends to the log, so it is never read half.

    A search is worth more than its picture: what goes wrong here is shown in place of the view, and
    the search goes on.
    """

    def __init__(self, space: Space, journal: Journal) -> None:
        self.space, self.journal = space, journal
        self.live: Live | None = None
        self.drawn = 0.0
        self.now: Standing | None = None
        self.problem = ""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"live": None}  # Ray pickles all that a Tuner holds

    def poll(self) -> None:
        """Draw the view anew if that was not just done."""
        if self.live is None or time.monotonic() - self.drawn < PERIOD:
            return
        try:
            self.problem = ""
            self.now = standing(self.space, self.journal, time.time())
        except Exception as error:
            self.problem = one_line(error)
        self.live.refresh()
        self.drawn = time.monotonic()

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
def live_view(space: Space, journal: Journal) -> Iterator[Callable[[], None]]:
    """Show where a search stands for as long as the block runs, on a terminal that can.

    Yields what is to be called a few times a second, so that time is seen to go by.
    """
    console = Console(soft_wrap=True)  # printed lines stay as they are, the terminal breaks them
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        yield lambda: None
        return
    board = Board(space, journal)
    with Live(
        board,
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stderr=sys.stderr.isatty(),  # what goes to a file goes on to it
    ) as board.live:
        yield board.poll
