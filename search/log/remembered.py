"""What is derived from a log, kept until the log's next event."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar


class Remembers(Protocol):
    """What is derived from a log and kept until the log's next event."""

    def known(self) -> dict[Any, Any]:
        """What was found since the last event."""


H = TypeVar("H", bound=Remembers)
P = ParamSpec("P")
R = TypeVar("R")


def remembered(find: Callable[Concatenate[H, P], R]) -> Callable[Concatenate[H, P], R]:
    """A function of a history or a study that is asked again and again: it looks once an event.

    Nobody may change what it returns.
    """

    def ask(holder: H, *args: P.args, **kwargs: P.kwargs) -> R:
        known, key = holder.known(), (holder, find, args, *kwargs.items())
        try:
            found: R = known[key]
        except KeyError:
            found = known[key] = find(holder, *args, **kwargs)
        return found

    return functools.update_wrapper(ask, find)  # type: ignore[return-value]
