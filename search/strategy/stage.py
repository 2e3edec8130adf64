"""What a study is at, read off its log."""

from __future__ import annotations

from typing import Literal

from search.log.events import Searched
from search.log.journal import Journal
from search.space.space import Space

Stage = Literal["noise floor", "search", "confirmation", "test", "done"]


def end_search(space: Space, journal: Journal) -> None:
    """Log that the search is over, once, if it has found anything; else --resume may go on."""
    if not journal.is_searched and any(journal.best(arm) for arm in space.arms):
        journal.append(Searched())
