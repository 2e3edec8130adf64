"""Which configuration wins an arm, and what there are rows of runs for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from search.log.events import Searched
from search.log.study import Study
from search.reporting.summarise import summarise
from search.space.loading import parse_space
from search.strategy.confirmation import confirmation_is_over, next_after_search, planned_runs
from search.strategy.winners import best_config, final_runs, leader, published_runs, winner
from supcon.parsing import UserError
from tests.written import TREE, WrittenStudy

RULES: dict[str, Any] = {
    "budget": {"trials": 9},
    "scheduler": "none",
    "confirm": {"top": 2, "pick_seeds": 2, "seeds": 3},
}
SCORES = (0.7, 0.9, 0.8, 0.6)


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    """Its search is over; trials 1 and 2 of each arm were the best."""
    study = WrittenStudy(tmp_path, **RULES)
    for arm in study.arms:
        for number, score in enumerate(SCORES):
            study.trial(arm, number, score)
    study.add(Searched)
    return study


def confirm(study: WrittenStudy, scores: dict[tuple[str, int | None], float]) -> None:
    """Train all that is to be trained; (phase, of) -> score, else 0.5."""
    study.follow(
        partial(next_after_search, study), lambda ask: scores.get((ask.phase, ask.of), 0.5)
    )
    assert confirmation_is_over(study)


def test_the_best_mean_on_fresh_seeds_wins_not_the_best_of_the_search(study: WrittenStudy) -> None:
    confirm(study, {("pick", 1): 0.5, ("pick", 2): 0.6})
    assert [t.ask.number for t in study.log.top("ce", 2)] == [1, 2]
    for arm in study.arms:
        won = winner(study, arm)
        assert won is not None
        assert won.ask.number == 2
        assert {run.ask.of for run in study.log.of(arm, "confirm")} == {2}


def test_a_candidate_that_diverges_on_a_fresh_seed_does_not_win(study: WrittenStudy) -> None:
    while (ask := next_after_search(study)) is not None:
        is_bad = (ask.phase, ask.of) == ("pick", 1)
        study.log.append(ask)
        study.report(ask.arm, ask.number, 9, 0.9 if is_bad else 0.1, ask.phase)
        study.end(ask.arm, ask.number, "diverged" if is_bad else "completed", ask.phase)
    won = winner(study, "ce")
    assert won is not None
    assert won.ask.number == 2


@pytest.mark.parametrize("top", [1, 3])
def test_nothing_is_decided_while_the_search_goes_on(tmp_path: Path, top: int) -> None:
    study = WrittenStudy(tmp_path, **RULES | {"confirm": {"top": top, "seeds": 3}})
    study.trial("ce", 0, 0.7)
    assert winner(study, "ce") is None
    assert leader(study, "ce") == study.log.best("ce")
    facts = summarise(study)
    assert not facts.arms["ce"].is_decided
    assert facts.verdict.text == "No verdict: the search is not over; go on with --resume."
    study.add(Searched)
    assert winner(study, "ce") == study.log.best("ce")


def test_a_larger_budget_leaves_the_winner_open_until_it_is_spent(study: WrittenStudy) -> None:
    confirm(study, {})
    decided = winner(study, "ce")
    assert decided is not None
    study.restart(budget={"trials": 12})
    assert winner(study, "ce") is None
    study.add(Searched)  # which found nothing better
    assert winner(study, "ce") == decided
    assert confirmation_is_over(study)


def test_a_log_without_the_end_of_the_search_has_its_winner(study: WrittenStudy) -> None:
    confirm(study, {})
    decided = winner(study, "ce")
    old = [e.model_dump_json() for e in study.log.events if not isinstance(e, Searched)]
    study.log.path.write_text("\n".join([*old, ""]))
    assert winner(Study.open(study.folder.path), "ce") == decided


def test_the_report_has_rows_of_the_winners_and_then_of_references(study: WrittenStudy) -> None:
    confirm(study, {})
    rows = final_runs(study)
    assert [(each.arm, each.phase, each.of) for each in rows] == [
        ("supcon", "confirm", 1), ("ce", "confirm", 1), ("supcon", "published", None),
        ("ce", "published", None), ("ce", "one_view", 1),
    ]  # fmt: skip
    assert [len(each.completed(study)) for each in rows] == [3] * 5
    assert rows[-1].label(study.space) == "ce winner, 1 view, 2 times the epochs"


def test_each_backbone_that_winners_start_from_with_weights_has_a_row_untrained(
    tmp_path: Path,
) -> None:
    weights = {"model.weights": {"choice": ["none", "a.pth", "b.pth"]}}
    study = WrittenStudy(tmp_path, **RULES, params=TREE["params"] | weights)
    for arm, number, score, file in (("supcon", 0, 0.8, "b.pth"), ("ce", 0, 0.8, "b.pth")):
        params = {"optim.lr_per_256": 0.1, "model.weights": file}
        study.ask(arm, number, params=params)
        study.train(study.log.trials[arm, "search", number].ask, score)
    study.add(Searched)
    confirm(study, {})
    (row,) = [row for row in final_runs(study) if row.phase == "frozen"]
    assert (row.arm, row.of, row.seeds) == ("supcon", 0, 1)
    backbone = study.space.config.model.backbone
    assert row.label(study.space) == f"{backbone}, pretrained and frozen"
    (run,) = row.completed(study)
    config = study.config_of(run.ask)
    assert (config.run.epochs, config.run.eval_at, config.model.weights) == (0, (), "b.pth")
    assert (study.length_of(run.ask), study.evaluated_at(run.ask)) == (0, (0,))


def test_the_same_loss_in_both_arms_has_one_reference() -> None:
    arms = {"a": {"loss.name": "ce"}, "b": {"loss.name": "ce"}}
    assert [row.arm for row in published_runs(parse_space(TREE | {"arms": arms}, "x"), arms)] == [
        "a"
    ]


def test_arms_of_one_loss_have_one_reference_each_that_of_the_plainest() -> None:
    cutout = {"loss.name": "ce", "augment.cutout": 0.5}
    arms = {"supcon": {"loss.name": "supcon"}, "ce_cutout": cutout, "ce": {"loss.name": "ce"}}
    tree = TREE | {"arms": arms, "baseline": "ce"}
    confirm_all = TREE["confirm"] | {"references": True}
    space = parse_space(tree | {"confirm": confirm_all}, "x")
    assert [row.arm for row in published_runs(space, arms)] == ["supcon", "ce"]
    assert planned_runs(space, list(arms), 2).reference == 3 * 3  # and one of one view


def test_the_joint_loss_has_no_published_settings() -> None:
    arms = {"supcon_ce": {"loss.name": "supcon_ce"}, "ce": {"loss.name": "ce"}}
    space = parse_space(TREE | {"arms": arms}, "x")
    assert [row.arm for row in published_runs(space, arms)] == ["ce"]


def test_the_row_of_one_view_is_of_the_plainest_arm_of_cross_entropy(tmp_path: Path) -> None:
    cutout = {"loss.name": "ce", "augment.cutout": 0.5}
    arms = {"ce_cutout": cutout, "ce": {"loss.name": "ce"}}
    study = WrittenStudy(tmp_path, arms=arms, **RULES)
    for arm in arms:
        study.trial(arm, 0, 0.8)
    study.add(Searched)
    confirm(study, {})
    assert [row.arm for row in final_runs(study) if row.phase == "one_view"] == ["ce"]


def test_the_config_of_a_winner_is_that_of_its_search_trial(study: WrittenStudy) -> None:
    confirm(study, {("pick", 2): 0.6})
    config = best_config(study, "ce")
    assert (config.optim.lr_per_256, config.run.seed) == (0.1 + 2 / 100, 2)


def test_an_arm_without_a_best_says_what_there_is(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    with pytest.raises(UserError, match=r"^--arm cee: the study has supcon, ce$"):
        best_config(study, "cee")
    study.ask("ce", 0)
    with pytest.raises(UserError, match="no trial of ce was trained to the end; resume the study"):
        best_config(study, "ce")
