"""The row of an actor in Ray's dashboard: kept up to date, and never in a trial's way."""

from __future__ import annotations

from typing import Any

import pytest

from search.engine import actor_label as actor_row
from search.engine.actor_label import ActorRow


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> ActorRow:
    """A row of which Ray is said to run."""
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    return ActorRow()


def published(row: ActorRow, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the row is made to say from now on."""
    said: list[str] = []
    monkeypatch.setattr(row, "_publish", said.append)
    return said


def test_a_row_is_changed_at_most_once_a_second(
    row: ActorRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = published(row, monkeypatch)
    clock = iter([10.0, 10.4, 11.1])
    monkeypatch.setattr("search.engine.actor_label.time.monotonic", lambda: next(clock))
    for text in ("first", "too soon", "third"):
        row.show(text)
    assert said == ["first", "third"]


def test_a_new_trial_is_shown_at_once(row: ActorRow, monkeypatch: pytest.MonkeyPatch) -> None:
    said = published(row, monkeypatch)
    row.show("old epoch 9/9", at_once=True)
    row.show("new epoch 0/9", at_once=True)
    assert said == ["old epoch 9/9", "new epoch 0/9"]


def test_a_table_that_cannot_be_changed_costs_a_line_and_no_trial(
    row: ActorRow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def fail(text: str) -> Any:
        tried.append(text)
        raise AttributeError("module has no attribute 'GcsPublish'")

    monkeypatch.setattr(row, "_publish", fail)
    for _ in range(10):
        row.show("text", at_once=True)
    assert len(tried) == actor_row.FAILURES
    (line,) = capsys.readouterr().err.splitlines()
    assert "GcsPublish" in line


def test_there_is_no_row_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ActorRow()
    said = published(row, monkeypatch)
    row.show("text", at_once=True)
    assert said == []
