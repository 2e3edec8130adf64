"""The time of a study, and what of it is kept for the confirmation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.log.events import Slept
from search.strategy.time_limit import Clock, confirm_seconds, must_confirm
from tests.written import WrittenStudy

CONFIRM = {"top": 1, "seeds": 3, "references": False}


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    """Ran for 400 seconds, was down for an hour, and ran for 300."""
    study = WrittenStudy(tmp_path, budget={"time": 1000}, confirm=CONFIRM)
    for arm, began, ended in (("ce", 1010, 1130), ("supcon", 1200, 1400)):
        study.now = began - 10
        study.ask(arm, 0, params={})
        times: dict[str, Any] = {
            "seconds": ended - began - 10,
            "evaluation_seconds": 10,
            "first_step": began + 7,
        }
        study.now = ended - 10
        study.report(arm, 0, 9, 0.5, **times)
        study.now = ended - 10
        study.end(arm, 0, "completed")
    study.now = 4990
    study.restart()
    study.now = 5290
    study.ask("ce", 1, params={})
    return study


def test_time_is_up_when_the_limit_is_near_enough(study: WrittenStudy) -> None:
    clock = Clock(study)
    assert not clock.is_over()
    assert not clock.is_over(reserve=290)
    assert clock.is_over(reserve=300)
    clock.started -= 300
    assert clock.is_over()


def test_a_study_without_a_limit_is_never_out_of_time(study: WrittenStudy) -> None:
    study.restart(budget={"trials": 3})
    clock = Clock(study)
    assert not clock.is_over(reserve=1e9)
    assert not must_confirm(study, clock, lambda: 1)


@pytest.mark.parametrize(("slots", "rounds"), [(1, 6), (2, 3), (4, 2), (8, 1)])
def test_confirming_takes_a_cold_start_and_what_the_slower_winner_took(
    study: WrittenStudy, slots: int, rounds: int
) -> None:
    assert confirm_seconds(study, slots) == 1.25 * (7 + rounds * 200)


@pytest.mark.parametrize(("slots", "rounds"), [(1, 15), (4, 4), (100, 1)])
def test_references_take_time_too(study: WrittenStudy, slots: int, rounds: int) -> None:
    study.restart(confirm={"top": 1, "seeds": 3})
    assert confirm_seconds(study, slots) == 1.25 * (7 + rounds * 200)


def test_nothing_is_kept_for_the_confirmation_before_there_is_something_to_confirm(
    tmp_path: Path,
) -> None:
    study = WrittenStudy(tmp_path)
    study.ask("ce", 0)
    assert confirm_seconds(study, 1) == 0


def test_the_search_ends_when_what_is_left_is_needed_to_confirm(study: WrittenStudy) -> None:
    """1000 - 700 s are left; the confirmation takes 258.75 s at best, 508.75 s on four slots."""
    clock = Clock(study)
    assert must_confirm(study, clock, lambda: 4)
    assert not must_confirm(study, clock, lambda: 8)
    clock.started -= 50
    assert must_confirm(study, clock, lambda: 8)


def test_the_time_that_a_trial_waited_for_a_restart_is_not_its_start(study: WrittenStudy) -> None:
    study.now = 89990
    study.restart()
    study.report("ce", 1, 1, 0.5, seconds=5, first_step=90003)
    assert confirm_seconds(study, 8) == 1.25 * (7 + 200)


def test_a_start_in_which_the_machine_slept_tells_nothing(study: WrittenStudy) -> None:
    study.add(Slept, seconds=8000)
    study.now += 8000
    study.report("ce", 1, 1, 0.5, seconds=5, first_step=study.now)
    assert confirm_seconds(study, 8) == 1.25 * (7 + 200)


def test_a_machine_that_sleeps_uses_up_no_time(study: WrittenStudy) -> None:
    before = Clock(study).elapsed()
    study.now += 9000
    study.add(Slept, seconds=9000)
    assert Clock(study).elapsed() == pytest.approx(before + 10, abs=0.5)
