"""A study from its opening to its report, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search.course import execute
from search.engine.shared_images import Images
from search.log.events import Ask, End, Opened, Report, Searched
from search.log.journal import Journal
from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.stage import end_search
from supcon.images.split import Splits

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"optim.lr_per_256": {"loguniform": [0.15, 1]}},
    "budget": {"trials": 1},
    "scheduler": "none",
    "confirm": {"top": 1, "seeds": 3},
}
Run = Callable[..., None]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    opened = Opened(study="x", space=TREE, commit="", versions={})
    return Journal.create(tmp_path / "x" / "events.jsonl", opened)


@pytest.fixture
def start(
    journal: Journal, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Run], bool]:
    """Runs the study with another function in place of Ray."""

    @contextmanager
    def nothing(*_: object) -> Iterator[str]:
        yield ""

    def run(train: Run) -> bool:
        monkeypatch.setattr("search.course.ray_session", nothing)
        monkeypatch.setattr("search.engine.shared_images.Images.shared", nothing)
        monkeypatch.setattr("search.course.check_room", lambda _: None)
        monkeypatch.setattr("search.course.endpoint", str)
        monkeypatch.setattr("search.course.Metrics", lambda *_: print)
        monkeypatch.setattr("search.course.run_trials", train)
        return execute(parse_space(TREE, "x"), journal, Images(digits), None, noise_floor=True)

    return run


def finish(journal: Journal, ask: Ask) -> None:
    key: dict[str, Any] = {"arm": ask.arm, "phase": ask.phase, "number": ask.number}
    metrics = {"val/probe_top1": 0.5}
    journal.append(ask)
    journal.append(Report(**key, epoch=9, metrics=metrics, views=9, seconds=9, decision="done"))
    journal.append(End(**key, outcome="completed"))


@pytest.mark.parametrize("at", ["published", "search"])
def test_after_ctrl_c_nothing_is_computed_and_nothing_decided(
    start: Callable[[Run], bool], journal: Journal, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    phases = list[str]()

    def describe(*_: object) -> list[str]:
        phases.append("noise")
        return []

    monkeypatch.setattr("search.course.describe_noise", describe)

    def train(space: Space, log: Journal, data: Any, asked: Any, plan: Any, **options: Any) -> None:
        phases.append(asked[0])
        if asked[0] == "search":
            finish(log, plan())
        options["interrupt"].requested = asked[0] == at

    assert start(train)
    assert phases == ["published", "noise", "search"][: 1 if at == "published" else 3]
    assert not journal.is_searched


def test_the_log_says_once_that_the_search_is_over(journal: Journal) -> None:
    space = parse_space(TREE, "x")
    end_search(space, journal)
    assert not journal.is_searched  # it has found nothing, and may go on
    finish(journal, Ask(arm="ce", phase="search", number=0, params={}, seed=0))
    for _ in range(2):
        end_search(space, journal)
    assert [type(event) for event in journal.events].count(Searched) == 1
