"""Hyper-parameter search over `supcon`, on Ray Tune and Optuna; docs/architecture.md shows it.

`search.load("results/x")` gives a study's trials and scores as data frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.notebook import Results, load

__all__ = ["Results", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # loaded when it is asked for, as in supcon
        from search import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
