"""What an answer can do without: each part is made by itself, and one that fails says so."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TypeVar

from supcon.parsing import one_line

T = TypeVar("T")


class Parts:
    """Makes parts of a report, and knows which are missing."""

    def __init__(self, missing: Mapping[str, str] | None = None) -> None:
        """`missing`: those that are known to be."""
        self.missing: dict[str, str] = dict(missing or {})
        """Place in summary.json or in the report -> a line that says what is missing, and why."""

    def made(self, place: str, what: str, make: Callable[[], T], otherwise: T) -> T:
        """What `make` makes; `otherwise` if it fails, whatever the reason.

        Args:
            place: where it belongs, for example `arms.ce.audit`.
            what: the beginning of the line, for example `ce: importance not computed`.
            make: makes it.
            otherwise: what stands in its place.
        """
        try:
            return make()
        except Exception as error:  # a fault of ours, too, must not take the answer away
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{what}: {type(error).__name__} at {where.filename}:{where.lineno}",
                  file=sys.stderr)  # fmt: skip
            self.missing[place] = f"{what}: {one_line(error)}"
            return otherwise
