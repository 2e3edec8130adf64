"""Suggestions are a function of seed, arm, number and log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from search.log.events import Ask, Outcome, Promoted
from search.log.study import Study
from search.strategy.sampler import BEST_TOLD, MOST_TOLD, SAMPLERS, Suggester
from search.strategy.search_order import SearchOrder
from search.strategy.stage import end_for_time
from tests.written import WrittenStudy

PARAMS: dict[str, Any] = {
    "optim.lr_per_256": {"loguniform": [0.01, 1]},
    "loss.temperature": {"uniform": [0.05, 0.5]},
    "data.batch_size": {"pow2": [16, 256]},
    "model.head": {"choice": ["mlp", "linear"]},
}


def new_study(path: Path, **changes: Any) -> WrittenStudy:
    return WrittenStudy(path, **{"params": PARAMS, "budget": {"total_epochs": 60}} | changes)


def quality(ask: Ask) -> float:
    return 1 - abs(ask.params["optim.lr_per_256"] - 0.3)


def search(study: WrittenStudy, most: int, order: SearchOrder | None = None) -> list[Ask]:
    def outcome(ask: Ask) -> Outcome:
        return "completed" if ask.number % 3 == 0 else "stopped"

    return study.follow(order or SearchOrder(study), quality, outcome, most)


def drawn(asks: list[Ask]) -> list[tuple[Any, ...]]:
    return [(ask.arm, ask.number, ask.params, ask.seed) for ask in asks]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_draws_the_same_trials_and_another_seed_others(
    tmp_path: Path, sampler: str
) -> None:
    seeds = (("a", 1), ("b", 1), ("c", 2))
    studies = (new_study(tmp_path / name, sampler=sampler, seed=seed) for name, seed in seeds)
    a, b, c = (drawn(search(study, 24)) for study in studies)
    assert a == b
    assert a != c


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_restart_at_any_point_changes_no_suggestion(tmp_path: Path, sampler: str) -> None:
    """Nor may one that keeps a state of its own, as QMC does, come into `SAMPLERS` unseen."""
    expected = drawn(search(new_study(tmp_path / "whole", sampler=sampler), 26))
    study, parts = new_study(tmp_path / "parts", sampler=sampler), []
    for _ in range(26):  # a new plan over the reopened log for every single trial
        parts += search(study, 1, SearchOrder(Study.open(study.folder.path)))
    assert drawn(parts) == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_suggestion_is_made_twice(tmp_path: Path, sampler: str) -> None:
    study = new_study(tmp_path, sampler=sampler)
    rates = [ask.params["optim.lr_per_256"] for ask in search(study, 26)]
    assert len(set(rates)) == len(rates)


def test_the_sampler_learns_from_scores(tmp_path: Path) -> None:
    study = new_study(tmp_path, budget={"trials": 40}, arms={"ce": {"loss.name": "ce"}})
    asks = search(study, 40)
    early, late = asks[:10], asks[-10:]
    assert sum(map(quality, late)) / 10 > sum(map(quality, early)) / 10 + 0.05


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("completed", "COMPLETE"), ("stopped", "PRUNED"), ("infeasible", "PRUNED"),
     ("diverged", "PRUNED"), ("failed", "FAIL")],
)  # fmt: skip
def test_each_outcome_is_told_to_optuna_for_what_it_is(
    tmp_path: Path, outcome: Outcome, state: str
) -> None:
    study = new_study(tmp_path)
    suggester = Suggester(study, "ce")
    study.ask("ce", 0, params=suggester.suggest(0))
    study.train(study.log.of("ce")[0].ask, 0.7, outcome)
    told = suggester.told()[0]
    assert told.state == optuna.trial.TrialState[state]
    assert told.value == (0.7 if outcome == "completed" else None)


def test_a_paused_trial_is_told_by_what_may_be_expected_of_it(tmp_path: Path) -> None:
    study = new_study(tmp_path, scheduler={"asha": {"grace": 1, "promotion": True}})
    suggester = Suggester(study, "ce")
    for number, score in enumerate([0.4, 0.3]):
        study.ask("ce", number, params=suggester.suggest(number))
        study.report("ce", number, 1, score, decision="pause")
    study.ask("ce", 2, params=suggester.suggest(2))
    assert [(t.state.name, t.value) for t in suggester.told()] == [
        *[("COMPLETE", 0.4), ("COMPLETE", 0.3), ("RUNNING", None)]
    ]
    study.add(Promoted, arm="ce", phase="search", number=0, why="rung")
    study.report("ce", 0, 9, 0.8, decision="done")
    study.end("ce", 0, "completed")
    study.end("ce", 2, "diverged")
    told = suggester.told()
    assert [(t.state.name, t.value) for t in told] == [
        *[("COMPLETE", 0.8), ("COMPLETE", pytest.approx(0.7)), ("PRUNED", None)]
    ]
    asked = [trial.ask.params["optim.lr_per_256"] for trial in study.log.of("ce")]
    assert [trial.params["optim.lr_per_256"] for trial in told] == asked


def test_of_many_trials_the_best_and_the_latest_are_told(tmp_path: Path) -> None:
    study = new_study(tmp_path, arms={"ce": {"loss.name": "ce"}})
    for number in range(MOST_TOLD + 50):
        study.ask("ce", number, params={"optim.lr_per_256": 0.1 + number / 1000})
        study.train(study.log.of("ce")[number].ask, 1 - number / 1000, "completed")
    values = [trial.value for trial in Suggester(study, "ce").told()]
    kept = [*range(BEST_TOLD), *range(75, MOST_TOLD + 50)]
    assert values == [1 - number / 1000 for number in kept]


@pytest.mark.parametrize(("scores", "state"), [([], "FAIL"), ([0.4], "PRUNED")])
def test_a_trial_that_the_time_cut_before_any_score_teaches_nothing(
    tmp_path: Path, scores: list[float], state: str
) -> None:
    study = new_study(tmp_path)
    suggester = Suggester(study, "ce")
    study.ask("ce", 0, params=suggester.suggest(0))
    for score in scores:
        study.report("ce", 0, 1, score)
    end_for_time(study)
    assert suggester.told()[0].state == optuna.trial.TrialState[state]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_and_conditions_are_kept(tmp_path: Path, sampler: str) -> None:
    params = {
        "optim.name": {"choice": ["sgd", "adamw"]},
        "optim.momentum": {"uniform": [0.5, 0.9], "step": 0.1, "when": {"optim.name": "sgd"}},
        "model.head_dim": {"int": [16, 64], "step": 16},
        "optim.lr_per_256": {"uniform": [0.1, 0.9]},
    }
    study = new_study(tmp_path, params=params, sampler=sampler, budget={"trials": 20})
    asks = search(study, 15)
    asks += search(study, 15, SearchOrder(Study.open(study.folder.path)))  # a restart
    kinds = set()
    for ask in asks:
        assert ("optim.momentum" in ask.params) == (ask.params["optim.name"] == "sgd")
        if "optim.momentum" in ask.params:
            assert round(ask.params["optim.momentum"] * 10, 6) in (5, 6, 7, 8, 9)
        if ask.arm == "supcon":
            assert ask.params["model.head_dim"] in (16, 32, 48, 64)
        kinds.add((ask.arm, ask.params["optim.name"]))
    assert len(kinds) == 4


def test_random_suggestions_do_not_depend_on_scores(tmp_path: Path) -> None:
    def params(name: str, sign: int) -> list[dict[str, Any]]:
        study = new_study(tmp_path / name, sampler="random", budget={"trials": 15})
        asks = study.follow(SearchOrder(study), lambda ask: 0.5 + sign * quality(ask) / 4)
        return [ask.params for ask in asks]

    assert params("a", 1) == params("b", -1)


@pytest.mark.parametrize(("selection", "best"), [("top1", [0.9, 0.2]), ("balanced", [0.1, 0.8])])
def test_optuna_is_told_what_the_study_selects_by(
    tmp_path: Path, selection: str, best: list[float]
) -> None:
    study = new_study(tmp_path, selection=selection)
    for number, (top1, balanced) in enumerate([(0.9, 0.1), (0.2, 0.8)]):
        study.ask("ce", number, params=Suggester(study, "ce").suggest(number))
        metrics = {"val/probe_top1": top1, "val/probe_balanced": balanced}
        study.report("ce", number, 9, 0, metrics=metrics)
        study.end("ce", number, "completed")
    told = Suggester(study, "ce").told()
    assert [trial.state.name for trial in told] == ["COMPLETE", "COMPLETE"]
    assert [trial.value for trial in told] == best
    assert [trial.intermediate_values for trial in told] == [{9: value} for value in best]
