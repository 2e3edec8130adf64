"""What a study is at, from its first trial to its last test score."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.strategy.confirmation import has_best, next_after_search
from search.strategy.search_order import SearchOrder
from search.strategy.stage import end_for_time, end_search, stage
from tests.written import WrittenStudy


def test_a_study_goes_through_its_stages_in_their_order(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"trials": 2})
    seen = [stage(study, 0)]
    study.follow(SearchOrder(study))
    seen.append(stage(study, 0))  # the end of the search is not logged yet
    end_search(study)
    study.follow(lambda: next_after_search(study))
    seen.append(stage(study, 0))
    for arm in study.arms:
        study.test(arm, [0, 1, 2], 2)
    seen.append(stage(study, 0))  # one of three has no score
    for arm in study.arms:
        study.test(arm, [2], 1)
    assert [*seen, stage(study, 0)] == ["search", "confirmation", "test", "test", "done"]


def test_published_settings_that_run_first_are_the_noise_floor(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    study.ask("ce", 0, "published", params={})
    assert stage(study, 0) == "noise floor"
    study.ask("ce", 0)
    assert stage(study, 0) == "search"


def test_a_search_that_found_nothing_is_done(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    study.follow(SearchOrder(study), outcome=lambda ask: "diverged", most=999)
    assert not has_best(study)
    end_search(study)
    assert not study.log.is_searched  # --resume with a larger budget may go on
    assert stage(study, 0) == "done"


@pytest.mark.parametrize(("seconds", "expected"), [(999, "search"), (1000, "done")])
def test_when_the_time_is_up_there_is_nothing_left_to_train(
    tmp_path: Path, seconds: float, expected: str
) -> None:
    study = WrittenStudy(tmp_path, budget={"time": 1000})
    study.trial("ce", 0, 0.5)
    assert stage(study, seconds) == expected


def test_trials_that_the_end_of_the_time_cuts_are_told_from_those_that_were_stopped(
    tmp_path: Path,
) -> None:
    study = WrittenStudy(tmp_path)
    for number in range(3):
        study.ask("ce", number)
    study.ask("ce", 0, "published", params={})
    study.end("ce", 0, "stopped")
    end_for_time(study)
    assert [trial.is_cut for trial in study.log.of("ce")] == [False, True, True]
    assert study.log.of("ce", "published")[0].end is None  # no trial of the search


@pytest.mark.parametrize(("baseline", "end"), [("ce", "test"), ("sincere", "done")])
def test_without_an_arm_that_gave_up_the_others_are_tested_unless_it_is_the_baseline(
    tmp_path: Path, baseline: str, end: str
) -> None:
    arms = {arm: {"loss.name": arm} for arm in ("supcon", "sincere", "ce")}
    budget = {"trials": 2, "give_up": 2}
    study = WrittenStudy(tmp_path, arms=arms, baseline=baseline, budget=budget)
    study.follow(
        SearchOrder(study), outcome=lambda ask: "diverged" if ask.arm == "sincere" else "completed"
    )
    end_search(study)
    study.follow(lambda: next_after_search(study))
    assert {arm: len(study.log.of(arm, "confirm")) for arm in arms} == {
        "supcon": 3, "sincere": 0, "ce": 3,
    }  # fmt: skip
    assert stage(study, 0) == end
