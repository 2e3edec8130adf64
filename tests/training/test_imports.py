"""The garbage collector around imports."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from supcon.imports import that_last


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    was_enabled = gc.isenabled()
    yield
    if was_enabled:
        gc.enable()


def test_no_garbage_is_looked_for_during_an_import_and_again_after_it() -> None:
    gc.enable()
    with that_last():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with that_last():
        pass
    assert not gc.isenabled()


def test_it_is_on_again_after_an_import_that_fails() -> None:
    gc.enable()
    with pytest.raises(ModuleNotFoundError), that_last():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
