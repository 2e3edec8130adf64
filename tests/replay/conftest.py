"""The planted worlds, fitted once."""

from __future__ import annotations

import pytest

from tests.benchmarks.efficiency.surrogate import World
from tests.replay.planted import space, worlds


@pytest.fixture(scope="session")
def planted() -> dict[str, World]:
    return worlds(space())
