"""What a Tuner holds, and Ray pickles into snapshots that nobody reads."""

from __future__ import annotations

from typing import Any


class Unpickled:
    """Leaves its state out of Ray's snapshots: it holds the log, open files and a terminal."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
