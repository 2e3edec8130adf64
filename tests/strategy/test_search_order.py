"""The arms of a search advance side by side; points come first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.log.events import Ask, Outcome
from search.reporting.tables import trials_csv
from search.space.points import read_points
from search.strategy.search_order import SearchOrder
from tests.written import WrittenStudy

PARAMS: dict[str, Any] = {
    "optim.lr_per_256": {"loguniform": [0.01, 1]},
    "loss.temperature": {"uniform": [0.05, 0.5]},
    "data.batch_size": {"pow2": [16, 256]},
    "model.head": {"choice": ["mlp", "linear"]},
}
POINT = {"optim.lr_per_256": 0.1, "loss.temperature": 0.2, "data.batch_size": 32}


def new_study(path: Path, **changes: Any) -> WrittenStudy:
    return WrittenStudy(path, **{"params": PARAMS, "budget": {"total_epochs": 60}} | changes)


def search(study: WrittenStudy, most: int) -> list[Ask]:
    """Train what comes next; one in three to the end."""

    def outcome(ask: Ask) -> Outcome:
        return "completed" if ask.number % 3 == 0 else "stopped"

    return study.follow(
        SearchOrder(study), lambda ask: ask.params["optim.lr_per_256"], outcome, most
    )


def test_an_arm_that_has_spent_less_comes_next(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    plan = SearchOrder(study)
    first = plan()
    assert isinstance(first, Ask)
    assert first.arm == "supcon"
    study.log.append(first)
    second = plan()
    assert isinstance(second, Ask)
    assert second.arm == "ce"  # none has reported, so the arm with fewer trials
    study.log.append(second)
    study.train(first, 0.5, "stopped")
    study.train(second, 0.5, "completed")
    third = plan()
    assert third is not None
    assert third.arm == "supcon"  # 1 epoch against 9


def test_no_trial_starts_once_the_time_is_up(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    is_up = iter([False, False, True])
    assert len(study.follow(SearchOrder(study, lambda: next(is_up)), most=9)) == 2


def test_points_are_an_arms_first_trials(tmp_path: Path) -> None:
    points = {"supcon": [POINT, POINT | {"model.head": "linear", "seed": 7}]}
    study = new_study(tmp_path, points=points)
    asks = search(study, 8)
    supcon = [ask for ask in asks if ask.arm == "supcon"]
    assert supcon[0].params == POINT | {"model.head": "mlp"}  # the default, since it is left out
    assert supcon[0].seed == study.space.trial_seed("supcon", "search", 0)
    assert supcon[1].params == POINT | {"model.head": "linear"}
    assert supcon[1].seed == 7
    assert supcon[2].params["optim.lr_per_256"] != 0.1
    assert next(ask for ask in asks if ask.arm == "ce").params["optim.lr_per_256"] != 0.1


def test_a_study_is_run_again_from_its_trials_csv(tmp_path: Path) -> None:
    def drawn(study: WrittenStudy, most: int) -> list[tuple[Any, ...]]:
        found = [(ask.arm, ask.number, ask.params, ask.seed) for ask in search(study, most)]
        return sorted(found, key=str)

    study = new_study(tmp_path / "first", seed=5)
    first = drawn(study, 12)
    (tmp_path / "trials.csv").write_text(trials_csv(study))
    points = read_points(tmp_path / "trials.csv")
    again = new_study(tmp_path / "again", points=points, sampler="points", budget={})
    assert drawn(again, 99) == first
