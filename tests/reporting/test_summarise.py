"""What is read off a study for its report."""

from __future__ import annotations

import pytest

from search.log.events import Started
from search.reporting.summarise import summarise
from search.reporting.summary import Ledger
from search.space.resources import ConfigKind, Footprint
from tests.reported import CLASSES, confirm
from tests.written import WrittenStudy


def test_the_summary_holds_the_facts_of_both_arms(study: WrittenStudy) -> None:
    confirm(study, 3)
    summary = summarise(study)
    supcon, ce = summary.arms["supcon"], summary.arms["ce"]
    assert supcon.trials == 3
    assert supcon.outcomes == {"completed": 2, "stopped": 1}
    assert supcon.best is not None
    assert supcon.best.number == 1
    geometry = {"alignment": 0.6, "nc1": 1.0, "projection_alignment": 0.1}
    assert supcon.best.val == pytest.approx({"probe_top1": 0.9, "knn_top1": 0.89} | geometry)
    assert supcon.ledger == Ledger(
        epochs=21, views=2100, train_seconds=10.5, checkpoint_seconds=1.5
    )
    assert supcon.confirm_ledger == Ledger(
        epochs=27, views=2700, train_seconds=13.5, checkpoint_seconds=1.5
    )
    assert supcon.reached == {3: (3, 2), 9: (2, 2)}
    assert supcon.confirm.val["probe_top1"] == pytest.approx([0.85, 0.86, 0.87])
    assert ce.confirm.model_extra is not None
    assert len(ce.confirm.model_extra["test_head_top1"]) == 3
    assert supcon.confirm.model_extra is not None
    assert supcon.confirm.model_extra.keys() == {"test_probe_top1", "test_knn_top1"}
    assert summary.test_evaluations == 6


def test_the_verdict_is_that_of_the_confirmed_runs(study: WrittenStudy) -> None:
    confirm(study, 3)
    summary = summarise(study)
    verdict, (supcon, ce) = summary.verdict, summary.rows
    assert verdict.n_seeds == 3
    assert verdict.difference is not None
    assert verdict.ci95 is not None
    low, high = verdict.ci95
    assert low < verdict.difference < high
    means = [sum(row.test["probe_top1"]) / 3 for row in (supcon, ce)]
    assert verdict.difference == pytest.approx(means[0] - means[1], abs=1e-6)
    assert summary.per_class is not None
    assert summary.per_class.classes == CLASSES


def test_the_protocol_says_which_winner_saw_batchnorm_of_micro_batches(study: WrittenStudy) -> None:
    kind = ConfigKind.of(study.config_of(study.log.of("ce")[0].ask))
    assert "micro-batches" not in " ".join(summarise(study).protocol)
    measured = Footprint(
        **kind._replace(memory_mode="cached")._asdict(),
        memory=10**9, views_per_second=9, cpu=2, gpu=0,
    )  # fmt: skip
    study.add(Started, study="x", space=study.tree, commit="", versions={}, measured=(measured,))
    lines = [line for line in summarise(study).protocol if "micro-batches" in line]
    assert [line.partition(":")[0] for line in lines] == ["supcon", "ce"]
    assert "all 512 views of a step, embedded in micro-batches of at most 256 (" in lines[0]


def test_a_winner_is_open_until_its_arm_is_searched(study: WrittenStudy) -> None:
    assert not any(arm.is_decided for arm in summarise(study).arms.values())
    confirm(study, 1)
    supcon = summarise(study).arms["supcon"]
    assert supcon.is_decided
    assert supcon.curse is not None
    assert supcon.curse.drop == pytest.approx(0.9 - 0.85)


def test_a_row_shows_val_of_all_runs_until_some_are_tested(study: WrittenStudy) -> None:
    best = study.log.top("ce", 1)[0].ask
    study.ask("ce", 0, "confirm", of=best.number, params=best.params)
    study.report("ce", 0, 9, 0.8, "confirm")
    study.end("ce", 0, "completed", "confirm")
    row = summarise(study).rows[-1]
    assert (row.arm, row.label, row.seeds) == ("ce", "ce winner", [0])
    assert (row.val, row.test) == ({"probe_top1": [0.8]}, {})


def test_a_row_shows_those_scores_that_all_of_its_runs_have(study: WrittenStudy) -> None:
    confirm(study, 3)
    study.log.of("ce", "confirm")[1].reports[-1].metrics.pop("val/nc1")
    study.log.of("supcon", "confirm")[0].reports[-1].metrics.pop("val/alignment")
    shown = {row.arm: set(row.val) for row in summarise(study).rows}
    assert shown["ce"] == {"probe_top1", "knn_top1", "head_top1", "alignment"}
    assert shown["supcon"] == {"probe_top1", "knn_top1", "nc1", "projection_alignment"}


def test_the_protocol_says_what_the_space_asks_for(study: WrittenStudy) -> None:
    protocol = " ".join(summarise(study).protocol)
    assert "ASHA, stopping at epochs 3, reduction 3" in protocol
    assert "the winner is judged on 3 further seeds." in protocol
    assert "All arms: digits, the same split (seed 0)" in protocol
    base = {"run": {"epochs": 9}, "data": {"hold_out": 2}}
    study.restart(scheduler="none", confirm={"seeds": 5}, base=base)
    protocol = " ".join(summarise(study).protocol)
    assert "All arms: digits without 2 classes held out, the same split (seed 0)" in protocol
    assert "no early stopping" in protocol
    assert "the winner is judged on 5 further seeds, and so are the reference rows." in protocol
