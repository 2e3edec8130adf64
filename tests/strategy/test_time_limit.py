"""The time of a study: what counts, and what is kept for the confirmation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.log.events import Ask, End, Opened, Report
from search.log.journal import Journal
from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.time_limit import Clock, active_seconds, confirm_seconds

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"optim.lr_per_256": {"uniform": [0.1, 1]}},
    "budget": {"time": 1000},
    "scheduler": {"asha": {"grace": 1}},
    "confirm": {"top": 1, "seeds": 3, "references": False},
}


@pytest.fixture
def study(tmp_path: Path) -> tuple[Space, Journal]:
    """Ran for 400 seconds, was down for an hour, and ran for 300."""
    opened = {"study": "x", "space": TREE, "commit": "", "versions": {}}
    journal = Journal.create(tmp_path / "s" / "events.jsonl", Opened(**opened, time=1000))
    for number, (arm, began, ended) in [(0, ("ce", 1010, 1130)), (0, ("supcon", 1200, 1400))]:
        key = {"arm": arm, "phase": "search", "number": number}
        journal.append(Ask(**key, params={}, seed=0, time=began))
        report: dict[str, Any] = {"epoch": 9, "metrics": {"val/probe_top1": 0.5}, "views": 1}
        report |= {"seconds": ended - began - 10, "evaluation_seconds": 10}
        report["first_step"] = began + 7
        journal.append(Report(**key, **report, decision="done", time=ended))
        journal.append(End(**key, outcome="completed", time=ended))
    journal.append(Opened(**opened, time=5000))
    journal.append(Ask(arm="ce", phase="search", number=1, params={}, seed=0, time=5300))
    return parse_space(TREE, "x"), journal


def test_the_time_that_a_study_was_down_does_not_count(study: tuple[Space, Journal]) -> None:
    assert active_seconds(study[1]) == 400 + 300


def test_time_is_up_when_the_limit_is_near_enough(study: tuple[Space, Journal]) -> None:
    clock = Clock(*study)
    assert not clock.is_over()
    assert not clock.is_over(reserve=290)
    assert clock.is_over(reserve=300)
    clock.started -= 300
    assert clock.is_over()


def test_a_study_without_a_limit_is_never_out_of_time(study: tuple[Space, Journal]) -> None:
    space = parse_space(TREE | {"budget": {"trials": 3}}, "x")
    assert not Clock(space, study[1]).is_over(reserve=1e9)


@pytest.mark.parametrize(("slots", "rounds"), [(1, 6), (2, 3), (4, 2), (8, 1)])
def test_confirming_takes_a_cold_start_and_what_the_slower_winner_took(
    study: tuple[Space, Journal], slots: int, rounds: int
) -> None:
    assert confirm_seconds(*study, slots) == 1.25 * (7 + rounds * 200)


@pytest.mark.parametrize(("slots", "rounds"), [(1, 15), (4, 4), (100, 1)])
def test_references_take_time_too(study: tuple[Space, Journal], slots: int, rounds: int) -> None:
    space = parse_space(TREE | {"confirm": {"top": 1, "seeds": 3}}, "x")
    assert confirm_seconds(space, study[1], slots) == 1.25 * (7 + rounds * 200)


def test_the_time_that_a_trial_waited_for_a_restart_is_not_its_start(
    study: tuple[Space, Journal],
) -> None:
    space, journal = study
    journal.append(Opened(study="x", space=TREE, commit="", versions={}, time=90000))
    report: dict[str, Any] = {"epoch": 1, "metrics": {"val/probe_top1": 0.5}, "views": 1}
    key: dict[str, Any] = {"arm": "ce", "phase": "search", "number": 1}
    report |= {"seconds": 5, "first_step": 90003, "time": 90010, "decision": "continue"}
    journal.append(Report(**key, **report))
    assert confirm_seconds(space, journal, 8) == 1.25 * (7 + 200)
