"""What is trained after the search, and which configuration wins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search.log.events import (
    AFTER_SEARCH,
    Ask,
    End,
    Opened,
    Outcome,
    Phase,
    Report,
    Searched,
    Unsealed,
)
from search.log.journal import Journal
from search.reporting.summarise import summarise
from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.confirmation import ConfirmPlan, planned_runs
from search.strategy.references import one_view, published
from search.strategy.winners import final_rows, leader, published_rows, winner

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"optim.lr_per_256": {"loguniform": [0.15, 1]}},
    "budget": {"trials": 9},
    "scheduler": "none",
    "confirm": {"top": 2, "pick_seeds": 2, "seeds": 3},
}
Study = tuple[Space, Journal]


def new_study(path: Path, **changes: Any) -> Study:
    opened = Opened(study="x", space=TREE | changes, commit="", versions={})
    space = parse_space(TREE | changes, "x")
    return space, Journal.create(path / "s" / "events.jsonl", opened)


def end(journal: Journal, ask: Ask, score: float, outcome: Outcome = "completed") -> None:
    key: dict[str, Any] = {"arm": ask.arm, "phase": ask.phase, "number": ask.number}
    metrics = {"val/probe_top1": score}
    journal.append(Report(**key, epoch=9, metrics=metrics, views=9, seconds=9, decision="done"))
    journal.append(End(**key, outcome=outcome))


def searched(journal: Journal, arm: str, scores: Sequence[float], *, is_over: bool = True) -> None:
    for number, score in enumerate(scores):
        params = {"optim.lr_per_256": 0.2 + number / 10}
        ask = Ask(arm=arm, phase="search", number=number, params=params, seed=number)
        journal.append(ask)
        end(journal, ask, score)
    if is_over:
        journal.append(Searched())


def run_all(study: Study, scores: dict[tuple[str, int | None], float]) -> list[Ask]:
    """Train what the plan asks for; (phase, of) -> score, else 0.5."""
    space, journal = study
    plan, asked = ConfirmPlan(space, journal), []
    while (ask := plan()) is not None:
        journal.append(ask)
        asked.append(ask)
        end(journal, ask, scores.get((ask.phase, ask.of), 0.5))
    assert plan.is_over()
    return asked


@pytest.fixture
def study(tmp_path: Path) -> Study:
    space, journal = new_study(tmp_path)
    for arm in space.arms:
        searched(journal, arm, [0.7, 0.9, 0.8, 0.6])
    return space, journal


def test_the_best_mean_on_fresh_seeds_wins_not_the_best_of_the_search(study: Study) -> None:
    space, journal = study
    run_all(study, {("pick", 1): 0.5, ("pick", 2): 0.6})
    assert [t.ask.number for t in journal.top("ce", 2)] == [1, 2]
    for arm in space.arms:
        won = winner(space, journal, arm)
        assert won is not None
        assert won.ask.number == 2
        assert {run.ask.of for run in journal.of(arm, "confirm")} == {2}


def test_every_row_gets_its_seeds_and_no_seed_is_used_twice(study: Study) -> None:
    space, journal = study
    asked = run_all(study, {})
    counts = Counter((ask.arm, ask.phase, ask.of) for ask in asked)
    assert counts == {
        ("supcon", "pick", 1): 2, ("supcon", "pick", 2): 2, ("ce", "pick", 1): 2,
        ("ce", "pick", 2): 2, ("supcon", "confirm", 1): 3, ("ce", "confirm", 1): 3,
        ("supcon", "published", None): 3, ("ce", "published", None): 3, ("ce", "one_view", 1): 3,
    }  # fmt: skip
    seeds = [t.ask.seed for t in journal.trials.values() if t.ask.phase != "search"]
    assert len(set(seeds)) == len(seeds)
    planned = planned_runs(space, 4)
    assert (planned.pick, planned.confirm, planned.reference) == (8, 6, 9)


def test_winners_wait_for_their_pick_and_references_need_not(study: Study) -> None:
    space, journal = study
    plan, running = ConfirmPlan(space, journal), []
    while (ask := plan()) is not None:
        journal.append(ask)
        running.append(ask)
    assert [ask.phase for ask in running] == 8 * ["pick"] + 6 * ["published"]
    assert winner(space, journal, "ce") is None
    assert leader(space, journal, "ce") == journal.best("ce")
    assert plan.runs_left() == (0, 9)
    assert not plan.is_over()
    for ask in running:
        end(journal, ask, 0.5)
    following = plan()
    assert following is not None
    assert following.phase == "confirm"


@pytest.mark.parametrize("phase", AFTER_SEARCH)
def test_a_run_that_fails_is_not_asked_for_again(study: Study, phase: str) -> None:
    space, journal = study
    plan, asked = ConfirmPlan(space, journal), 0
    while (ask := plan()) is not None:
        journal.append(ask)
        asked += 1
        end(journal, ask, 0.5, "failed" if ask.phase == phase else "completed")
    assert asked == planned_runs(space, 4).total
    assert all(winner(space, journal, arm) for arm in space.arms)


def resume(journal: Journal) -> None:
    journal.append(journal.opened.model_copy(update={"time": time.time() + 1}))


@pytest.mark.parametrize("phase", AFTER_SEARCH)
@pytest.mark.parametrize(
    ("outcome", "is_replaced"), [("failed", True), ("diverged", False), ("infeasible", False)]
)
def test_runs_that_failed_before_a_restart_give_way_to_other_seeds(
    study: Study, phase: str, outcome: Outcome, is_replaced: bool
) -> None:
    space, journal = study
    plan, lost = ConfirmPlan(space, journal), list[Ask]()
    while (ask := plan()) is not None:
        journal.append(ask)
        lost += [ask] if ask.phase == phase else []
        end(journal, ask, 0.5, outcome if ask.phase == phase else "completed")
    resume(journal)
    assert plan.is_over() is not is_replaced
    again = run_all(study, {})
    known = Counter((ask.arm, ask.phase, ask.of) for ask in lost)
    assert Counter((a.arm, a.phase, a.of) for a in again) == (known if is_replaced else Counter())
    assert not {ask.seed for ask in lost} & {ask.seed for ask in again}
    assert plan.runs_left() == (0, 0)
    for row in final_rows(space, journal):
        assert len(row.completed(journal)) == (0 if row.phase == phase and not is_replaced else 3)


@pytest.mark.parametrize("phase", ["pick", "confirm"])
def test_nothing_is_tried_again_that_a_test_score_could_decide(study: Study, phase: Phase) -> None:
    space, journal = study
    plan = ConfirmPlan(space, journal)
    while (ask := plan()) is not None:
        journal.append(ask)
        is_lost = (ask.arm, ask.phase, ask.number) == ("ce", phase, 0)
        end(journal, ask, 0.5, "failed" if is_lost else "completed")
    before = winner(space, journal, "ce")
    opening = {"commit": "", "data_hash": "", "classes": [], "labels": "", "numbers": [1, 2]}
    journal.append(Unsealed(arm="ce", phase="confirm", **opening))
    resume(journal)
    assert plan.is_over()
    assert winner(space, journal, "ce") == before


def test_a_candidate_that_diverges_on_a_fresh_seed_does_not_win(study: Study) -> None:
    space, journal = study
    plan = ConfirmPlan(space, journal)
    while (ask := plan()) is not None:
        journal.append(ask)
        is_bad = (ask.phase, ask.of) == ("pick", 1)
        end(journal, ask, 0.9 if is_bad else 0.1, "diverged" if is_bad else "completed")
    won = winner(space, journal, "ce")
    assert won is not None
    assert won.ask.number == 2


def test_a_single_candidate_is_not_picked(tmp_path: Path) -> None:
    space, journal = new_study(tmp_path)
    searched(journal, "ce", [0.7])
    run_all((space, journal), {})
    assert journal.of("ce", "pick") == []
    assert len(journal.of("ce", "confirm")) == 3


@pytest.mark.parametrize("top", [1, 3])
def test_nothing_is_decided_while_the_search_goes_on(tmp_path: Path, top: int) -> None:
    space, journal = new_study(tmp_path, confirm={"top": top, "seeds": 3})
    searched(journal, "ce", [0.7], is_over=False)
    assert winner(space, journal, "ce") is None
    assert leader(space, journal, "ce") == journal.best("ce")
    facts = summarise(space, journal)
    assert not facts["arms"]["ce"]["is_decided"]
    assert facts["verdict"]["text"] == "No verdict: the search is not over; go on with --resume."
    journal.append(Searched())
    assert winner(space, journal, "ce") == journal.best("ce")


def test_a_larger_budget_leaves_the_winner_open_until_it_is_spent(study: Study) -> None:
    space, journal = study
    run_all(study, {})
    decided = winner(space, journal, "ce")
    assert decided is not None
    larger = TREE | {"budget": {"trials": 12}}
    journal.append(journal.opened.model_copy(update={"space": larger}))
    assert winner(space, journal, "ce") is None
    journal.append(Searched())  # which found nothing better
    assert winner(space, journal, "ce") == decided
    assert ConfirmPlan(space, journal).is_over()


def test_a_log_without_the_end_of_the_search_has_its_winner(study: Study) -> None:
    space, journal = study
    run_all(study, {})
    decided = winner(space, journal, "ce")
    old = [e.model_dump_json() for e in journal.events if not isinstance(e, Searched)]
    journal.close()
    journal.path.write_text("\n".join([*old, ""]))
    assert winner(space, Journal.open(journal.path), "ce") == decided


def test_without_a_result_nothing_is_confirmed(tmp_path: Path) -> None:
    assert ConfirmPlan(*new_study(tmp_path))() is None


def test_a_study_that_goes_on_confirms_its_new_winner_alone(study: Study) -> None:
    space, journal = study
    run_all(study, {("pick", 1): 0.6})
    searched(journal, "ce", [0.7, 0.9, 0.8, 0.6, 0.95])
    asked = run_all(study, {("pick", 4): 0.9})
    counts = Counter((ask.arm, ask.phase, ask.of) for ask in asked)
    assert counts == {("ce", "pick", 4): 2, ("ce", "confirm", 4): 3, ("ce", "one_view", 4): 3}
    assert [row.of for row in final_rows(space, journal)] == [1, 4, None, None, 4]


def test_published_settings_stay_inside_the_ranges_that_are_searched() -> None:
    params = {
        "loss.temperature": {"loguniform": [0.2, 0.5]},  # published: 0.1
        "data.batch_size": {"pow2": [64, 256]},  # 1024
        "model.backbone": {"choice": ["resnet18", "resnet34"]},  # resnet50
        "optim.lr_per_256": {"loguniform": [0.01, 1.0]},
    }
    space = parse_space(TREE | {"params": params}, "x")
    assert published(space, "supcon") == {
        "loss.temperature": 0.2, "data.batch_size": 256, "model.backbone": "resnet18",
        "optim.lr_per_256": 0.125,
    }  # fmt: skip
    assert published(space, "ce")["optim.lr_per_256"] == 0.2
    assert "loss.temperature" not in published(space, "ce")
    for arm in space.arms:
        space.trial_config(arm, published(space, arm), seed=0)


def test_one_view_of_twice_the_epochs_sees_as_many_views() -> None:
    space = parse_space(TREE, "x")
    two = space.trial_config("ce", {"optim.lr_per_256": 0.3}, seed=0)
    one = space.trial_config("ce", one_view(space, "ce", {"optim.lr_per_256": 0.3}), seed=0)
    assert one.optim == two.optim
    assert one.augment.views * one.run.epochs == two.augment.views * two.run.epochs == 18


def test_the_same_loss_in_both_arms_has_one_reference() -> None:
    arms = {"a": {"loss.name": "ce"}, "b": {"loss.name": "ce"}}
    assert [row.arm for row in published_rows(parse_space(TREE | {"arms": arms}, "x"))] == ["a"]


def test_a_setting_that_is_off_by_default_has_a_reference_too() -> None:
    params = {"optim.clip_norm": {"uniform": [0.5, 2]}, "augment.blur": {"uniform": [0.1, 0.5]}}
    space = parse_space(TREE | {"params": params}, "x")
    for arm in space.arms:
        assert published(space, arm) == {"optim.clip_norm": 0.5, "augment.blur": 0.1}
        space.trial_config(arm, published(space, arm), seed=0)
