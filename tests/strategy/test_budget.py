"""What an arm may still spend, and when it gives up."""

from __future__ import annotations

from pathlib import Path

from search.log.events import Ask, Outcome
from search.strategy.search_order import SearchOrder
from search.strategy.stage import open_arms, search_is_over
from tests.written import WrittenStudy

EPOCHS = {"budget": {"total_epochs": 60}}
CE_ALONE = {"arms": {"ce": {"loss.name": "ce"}}}


def mostly_stopped(ask: Ask) -> Outcome:
    return "completed" if ask.number % 3 == 0 else "stopped"


def test_an_arm_starts_trials_until_its_epochs_are_spent(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, **EPOCHS)
    asks = study.follow(SearchOrder(study), outcome=mostly_stopped)
    for arm in ("supcon", "ce"):
        last = [ask for ask in asks if ask.arm == arm][-1]
        spent = study.log.totals(arm).epochs
        assert spent - (9 if last.number % 3 == 0 else 1) < 60 <= spent
    assert search_is_over(study)


def test_the_cap_on_trials_ends_an_arm_too(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"trials": 4})
    asks = study.follow(SearchOrder(study), outcome=mostly_stopped)
    assert [sum(ask.arm == arm for ask in asks) for arm in ("supcon", "ce")] == [4, 4]


def test_an_arm_that_has_run_all_its_points_starts_no_more(tmp_path: Path) -> None:
    points = {"ce": 3 * [{"optim.lr_per_256": 0.2}], "supcon": [{"optim.lr_per_256": 0.3}]}
    study = WrittenStudy(tmp_path, budget={"trials": 2}, sampler="points", points=points)
    asks = study.follow(SearchOrder(study))
    assert [sum(ask.arm == arm for ask in asks) for arm in ("supcon", "ce")] == [1, 2]


def test_trials_that_end_before_they_report_use_up_the_budget(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"total_epochs": 60, "give_up": None})
    assert len(study.follow(SearchOrder(study), outcome=lambda ask: "infeasible")) == 2 * 60


def test_an_arm_whose_trials_come_to_nothing_leaves_the_budget_to_the_other(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, **EPOCHS)
    asks = study.follow(
        SearchOrder(study), outcome=lambda ask: "failed" if ask.arm == "ce" else "completed"
    )
    assert [sum(ask.arm == arm for ask in asks) for arm in ("ce", "supcon")] == [8, 7]  # of 9


def test_a_search_ends_with_the_confirmation_unless_its_budget_grows(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"time": 1000})
    plan = SearchOrder(study)
    assert plan() is not None
    study.ask("ce", 0, "confirm", params={})
    assert plan() is None
    study.restart()
    assert plan() is None
    study.restart(budget={"time": 2000})
    assert plan() is not None


def test_a_search_is_not_over_while_its_last_trial_runs(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"trials": 1}, **CE_ALONE)
    assert open_arms(study) == ["ce"]
    study.ask("ce", 0)
    assert open_arms(study) == []
    assert not search_is_over(study)
    study.end("ce", 0, "stopped")
    assert search_is_over(study)
