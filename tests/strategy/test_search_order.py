"""Suggestions are a function of seed, arm, number and log; arms share the budget evenly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.engine.trial_source import TrialSource
from search.log.events import Ask, End, Opened, Outcome, Report, TrialId
from search.log.journal import Journal
from search.reporting.tables import trials_csv
from search.space.distribution import Distribution
from search.space.loading import parse_space
from search.space.points import read_points
from search.space.space import Space
from search.strategy.optuna_form import decode, encode, suggest_one
from search.strategy.sampler import Suggester
from search.strategy.search_order import SearchPlan
from search.strategy.time_limit import end_for_time
from supcon.parsing import UserError

TREE: dict[str, Any] = {
    "name": "x", "base": {"run": {"epochs": 9}}, "budget": {"total_epochs": 60},
    "params": {
        "optim.lr_per_256": {"loguniform": [0.01, 1]},
        "loss.temperature": {"uniform": [0.05, 0.5]},
        "data.batch_size": {"pow2": [16, 256]},
        "model.head": {"choice": ["mlp", "linear"]},
    },
    "scheduler": {"asha": {"grace": 3, "reduction": 3}},
}  # fmt: skip


def study(path: Path, **changes: Any) -> tuple[Space, Journal]:
    tree = TREE | changes
    opened = Opened(study="x", space=tree, commit="", versions={})
    return parse_space(tree, "x"), Journal.create(path / "s" / "events.jsonl", opened)


def finish(journal: Journal, ask: Ask, score: float, outcome: Outcome = "completed") -> None:
    epoch = 9 if outcome == "completed" else 3
    key = {"arm": ask.arm, "phase": ask.phase, "number": ask.number}
    if outcome in ("completed", "stopped"):
        metrics = {"val/probe_top1": score}
        journal.append(
            Report(**key, epoch=epoch, metrics=metrics, views=1, seconds=1, decision="done")
        )
    journal.append(End(**key, outcome=outcome))


def quality(ask: Ask) -> float:
    return 1 - abs(ask.params["optim.lr_per_256"] - 0.3)


def run_plan(plan: Callable[[], Ask | None], journal: Journal, n: int) -> list[Ask]:
    asks = []
    for _ in range(n):
        ask = plan()
        if ask is None:
            break
        journal.append(ask)
        finish(journal, ask, quality(ask), "completed" if ask.number % 3 == 0 else "stopped")
        asks.append(ask)
    return asks


def drawn(asks: list[Ask]) -> list[tuple[Any, ...]]:
    return [(ask.arm, ask.number, ask.params, ask.seed) for ask in asks]


def test_the_same_seed_draws_the_same_trials_and_another_seed_others(tmp_path: Path) -> None:
    studies = [study(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    a, b, c = (drawn(run_plan(SearchPlan(*s), s[1], 24)) for s in studies)
    assert a == b
    assert a != c


def test_a_restart_at_any_point_changes_no_suggestion(tmp_path: Path) -> None:
    space, journal = study(tmp_path / "whole")
    expected = drawn(run_plan(SearchPlan(space, journal), journal, 26))
    space, journal = study(tmp_path / "parts")
    parts = []
    for _ in range(26):  # a new plan over the reopened log for every single trial
        journal = Journal.open(journal.path)
        parts += run_plan(SearchPlan(space, journal), journal, 1)
    assert drawn(parts) == expected


def test_no_suggestion_is_made_twice(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    rates = [
        a.params["optim.lr_per_256"] for a in run_plan(SearchPlan(space, journal), journal, 26)
    ]
    assert len(set(rates)) == len(rates)


def test_an_arm_that_has_spent_less_comes_next(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    plan = SearchPlan(space, journal)
    first = plan()
    assert first is not None
    assert first.arm == "supcon"
    journal.append(first)
    second = plan()
    assert second is not None
    assert second.arm == "ce"  # none has reported, so the arm with fewer trials
    journal.append(second)
    finish(journal, first, 0.5, "stopped")
    finish(journal, second, 0.5, "completed")
    third = plan()
    assert third is not None
    assert third.arm == "supcon"  # 3 epochs against 9


def test_an_arm_starts_trials_until_its_epochs_are_spent(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    asks = run_plan(SearchPlan(space, journal), journal, 100)
    for arm in ("supcon", "ce"):
        last = [ask for ask in asks if ask.arm == arm][-1]
        spent_before = journal.epochs_spent(arm) - (9 if last.number % 3 == 0 else 3)
        assert spent_before < 60 <= journal.epochs_spent(arm)


def test_the_cap_on_trials_ends_an_arm_too(tmp_path: Path) -> None:
    space, journal = study(tmp_path, budget={"trials": 4})
    asks = run_plan(SearchPlan(space, journal), journal, 100)
    assert [sum(ask.arm == arm for ask in asks) for arm in ("supcon", "ce")] == [4, 4]


def test_the_sampler_learns_from_scores(tmp_path: Path) -> None:
    space, journal = study(tmp_path, budget={"trials": 40}, arms={"ce": {"loss.name": "ce"}})
    asks = run_plan(SearchPlan(space, journal), journal, 40)
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
    space, journal = study(tmp_path)
    suggester = Suggester(space, "ce", journal)
    ask = Ask(arm="ce", phase="search", number=0, params=suggester.suggest(0), seed=0)
    journal.append(ask)
    finish(journal, ask, 0.7, outcome)
    suggester.suggest(1)
    told = suggester.study.trials[0]
    assert told.state == optuna.trial.TrialState[state]
    assert told.value == (0.7 if outcome in ("completed", "stopped") else None)


@pytest.mark.parametrize(("scores", "state"), [([], "FAIL"), ([0.4], "PRUNED")])
def test_a_trial_that_the_time_cut_before_any_score_teaches_nothing(
    tmp_path: Path, scores: list[float], state: str
) -> None:
    space, journal = study(tmp_path)
    suggester = Suggester(space, "ce", journal)
    key: dict[str, Any] = {"arm": "ce", "phase": "search", "number": 0}
    journal.append(Ask(**key, params=suggester.suggest(0), seed=0))
    for score in scores:
        metrics = {"val/probe_top1": score}
        report: dict[str, Any] = {"epoch": 1, "metrics": metrics, "views": 1, "seconds": 1}
        journal.append(Report(**key, **report, decision="continue"))
    end_for_time(journal)
    suggester.suggest(1)
    assert suggester.study.trials[0].state == optuna.trial.TrialState[state]


@pytest.mark.parametrize(
    ("pair", "value"),
    [({"pow2": [16, 256]}, 64), ({"uniform": [0, 1]}, 0.3), ({"choice": ["a", "b"]}, "b"),
     ({"logint": [1, 9]}, 4), ({"uniform": [0, 1], "step": 0.25}, 0.75),
     ({"int": [2, 10], "step": 4}, 6)],
)  # fmt: skip
def test_a_value_comes_back_from_optuna_as_it_was(pair: dict[str, Any], value: Any) -> None:
    distribution = Distribution.model_validate(pair)
    assert distribution.can_be(value)
    trial = optuna.trial.FixedTrial({"x": encode(distribution, value)})
    assert decode(distribution, suggest_one(trial, "x", distribution)) == value


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_steps_and_conditions_are_kept(tmp_path: Path, sampler: str) -> None:
    params = {
        "optim.name": {"choice": ["sgd", "adamw"]},
        "optim.momentum": {"uniform": [0.5, 0.9], "step": 0.1, "when": {"optim.name": "sgd"}},
        "model.head_dim": {"int": [16, 64], "step": 16},
        "optim.lr_per_256": {"uniform": [0.1, 0.9]},
    }
    space, journal = study(tmp_path, params=params, sampler=sampler, budget={"trials": 20})
    plan = SearchPlan(space, journal)
    asks = run_plan(plan, journal, 15)
    asks += run_plan(SearchPlan(space, Journal.open(journal.path)), journal, 15)  # a restart
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
    found = []
    for name, sign in (("a", 1), ("b", -1)):
        space, journal = study(tmp_path / name, sampler="random", budget={"trials": 15})
        plan, params = SearchPlan(space, journal), []
        while (ask := plan()) is not None:
            journal.append(ask)
            finish(journal, ask, 0.5 + sign * quality(ask) / 4)
            params.append(ask.params)
        found.append(params)
    assert found[0] == found[1]


def test_no_trial_starts_once_the_time_is_up(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    is_up = iter([False, False, True])
    plan = SearchPlan(space, journal, lambda: next(is_up))
    assert len(run_plan(plan, journal, 9)) == 2


def test_a_trial_whose_worker_keeps_dying_has_failed(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    errors: dict[TrialId, str] = {("supcon", "search", 0): "OSError: no such folder: /x"}
    plan = SearchPlan(space, journal)
    source = TrialSource(space, journal, ["search"], plan, errors=errors)
    for attempt in range(3):
        handed_out = source.suggest(f"ray-{attempt}")
        assert isinstance(handed_out, dict)
        assert handed_out["name"] == "supcon-0"
        assert journal.trials["supcon", "search", 0].outcome is None
        source.on_trial_complete(f"ray-{attempt}", error=True)
    (trial,) = journal.of("supcon")
    assert trial.end is not None
    assert trial.end.outcome == "failed"
    assert trial.end.detail == "its worker process kept dying (OSError: no such folder: /x)"
    assert journal.of("ce") == []


def test_unfinished_trials_are_handed_out_before_new_ones(tmp_path: Path) -> None:
    space, journal = study(tmp_path, budget={"trials": 1})
    plan = SearchPlan(space, journal)
    first = plan()
    assert first is not None
    journal.append(first)
    source = TrialSource(space, journal, ["search"], SearchPlan(space, journal))
    handed_out = [source.suggest(f"ray-{i}") for i in range(3)]
    names = [trial["name"] if isinstance(trial, dict) else trial for trial in handed_out]
    assert names == ["supcon-0", "ce-0", None]  # one of them may have to be run once more
    for trial in journal.unfinished("search"):
        finish(journal, trial.ask, 0.5)
    assert source.suggest("ray-3") == "FINISHED"


def test_an_arm_whose_trials_all_fail_gives_up_and_leaves_the_other_alone(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    plan, asked = SearchPlan(space, journal), []
    while (ask := plan()) is not None:
        journal.append(ask)
        finish(journal, ask, 0.5, "failed" if ask.arm == "ce" else "completed")
        asked.append(ask.arm)
    assert asked.count("ce") == 3
    assert asked.count("supcon") == 7  # 60 epochs of 9


def test_trials_that_end_before_they_report_use_up_the_budget(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    plan, n_trials = SearchPlan(space, journal), 0
    while (ask := plan()) is not None:
        journal.append(ask)
        finish(journal, ask, 0.5, "infeasible")
        n_trials += 1
    assert n_trials == 2 * 60


def test_a_trial_that_has_no_valid_config_is_not_logged(tmp_path: Path) -> None:
    space, journal = study(tmp_path)
    bad = Ask(arm="ce", phase="search", number=0, params={"data.batch_size": 9.5}, seed=0)
    source = TrialSource(space, journal, ["search"], lambda: bad)
    with pytest.raises(UserError):
        source.suggest("ray-1")
    assert len(journal.events) == 1


def test_an_arm_that_gave_up_tries_again_in_a_study_that_was_resumed(tmp_path: Path) -> None:
    space, journal = study(tmp_path, arms={"ce": {"loss.name": "ce"}})
    plan = SearchPlan(space, journal)
    while (ask := plan()) is not None:
        journal.append(ask)
        finish(journal, ask, 0.5, "failed")
    assert len(journal.of("ce")) == 3
    journal.append(Opened(study="x", space=TREE, commit="", versions={}))
    assert plan() is not None


def test_a_search_ends_with_the_confirmation_unless_its_budget_grows(tmp_path: Path) -> None:
    space, journal = study(tmp_path, budget={"time": 1000})
    plan = SearchPlan(space, journal)
    assert plan() is not None
    journal.append(Ask(arm="ce", phase="confirm", number=0, params={}, seed=0))
    assert plan() is None
    tree = TREE | {"budget": {"time": 1000}}
    journal.append(Opened(study="x", space=tree, commit="", versions={}))
    assert plan() is None
    journal.append(
        Opened(study="x", space=tree | {"budget": {"time": 2000}}, commit="", versions={})
    )
    assert plan() is not None


# Points


POINT = {"optim.lr_per_256": 0.1, "loss.temperature": 0.2, "data.batch_size": 32}


def test_points_are_an_arms_first_trials(tmp_path: Path) -> None:
    points = {"supcon": [POINT, POINT | {"model.head": "linear", "seed": 7}]}
    this, journal = study(tmp_path, points=points)
    asks = run_plan(SearchPlan(this, journal), journal, 8)
    supcon = [ask for ask in asks if ask.arm == "supcon"]
    assert supcon[0].params == POINT | {"model.head": "mlp"}  # the default, since it is left out
    assert supcon[0].seed == this.trial_seed("supcon", "search", 0)
    assert supcon[1].params == POINT | {"model.head": "linear"}
    assert supcon[1].seed == 7
    assert supcon[2].params["optim.lr_per_256"] != 0.1
    assert next(ask for ask in asks if ask.arm == "ce").params["optim.lr_per_256"] != 0.1


def test_a_study_is_run_again_from_its_trials_csv(tmp_path: Path) -> None:
    this, journal = study(tmp_path / "first", seed=5)
    first = run_plan(SearchPlan(this, journal), journal, 12)
    (tmp_path / "trials.csv").write_text(trials_csv(this, journal))
    points = read_points(tmp_path / "trials.csv")
    again, other = study(tmp_path / "again", points=points, sampler="points", budget={})
    assert sorted(drawn(run_plan(SearchPlan(again, other), other, 99)), key=str) == sorted(
        drawn(first), key=str
    )
