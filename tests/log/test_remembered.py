"""What is derived from a log is looked up once an event."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.history import History
from search.log.remembered import remembered
from search.log.study import Study
from tests.written import WrittenStudy


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(tmp_path)


def test_what_is_remembered_is_looked_up_once_an_event(study: WrittenStudy) -> None:
    looked = []

    @remembered
    def n_events(of: History | Study, more: int = 0) -> int:
        looked.append(more)
        return len((of.log if isinstance(of, Study) else of).events) + more

    for holder in (study.log, study):
        looked.clear()
        before = len(study.log.events)
        assert [n_events(holder), n_events(holder), n_events(holder, more=5)] == [
            before, before, before + 5,
        ]  # fmt: skip
        assert looked == [0, 5]
        study.ask("ce", before)
        assert n_events(holder) == before + 1
        assert looked == [0, 5, 0]
