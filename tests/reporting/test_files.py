"""The report of a study, made from a log written by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from search.export import main as export
from search.judge.sealed import pack, pack_labels, unpack, unpack_labels
from search.log.events import Ask, End, Opened, Report, Scored, Unsealed
from search.log.journal import Journal
from search.reporting.curves import HEIGHT, WIDTH
from search.reporting.files import write_report
from search.reporting.tables import results_table
from search.strategy.winners import best_config
from supcon.config import load_config

TREE: dict[str, Any] = {
    "name": "x", "base": {"run": {"epochs": 9}}, "budget": {"trials": 3},
    "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
    "scheduler": {"asha": {"grace": 3, "reduction": 3}},
    "confirm": {"top": 1, "seeds": 3, "references": False},
}  # fmt: skip


def add(journal: Journal, arm: str, phase: Any, number: int, scores: list[float]) -> None:
    key = {"arm": arm, "phase": phase, "number": number}
    of = 1 if phase == "confirm" else None
    params = {"optim.lr_per_256": 0.1 * (number + 1)}
    journal.append(Ask(**key, params=params, seed=10 * number, of=of))
    for epoch, score in zip((3, 9), scores, strict=False):
        metrics = {"train/loss": 1.0, "val/probe_top1": score, "val/knn_top1": score - 0.01}
        if arm == "ce":
            metrics["val/head_top1"] = score - 0.02
        journal.append(
            Report(**key, epoch=epoch, metrics=metrics, views=100 * epoch, seconds=epoch,
                   decision="continue")
        )  # fmt: skip
    journal.append(End(**key, outcome="completed" if len(scores) == 2 else "stopped"))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    opened = Opened(study="x", space=TREE, commit="abc", versions={"ray": "2"})
    log = Journal.create(tmp_path / "x" / "events.jsonl", opened)
    for arm in ("supcon", "ce"):
        add(log, arm, "search", 0, [0.5, 0.8])
        add(log, arm, "search", 1, [0.6, 0.9])
        add(log, arm, "search", 2, [0.4])
    return log


def confirm(journal: Journal, n_seeds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for arm in ("supcon", "ce"):
        opened = {"commit": "abc", "data_hash": "0f", "classes": ["a", "b"]}
        labels = pack_labels(np.arange(100) % 2)
        numbers = list(range(n_seeds))
        journal.append(Unsealed(arm=arm, phase="confirm", numbers=numbers, labels=labels, **opened))
        for number in range(n_seeds):
            add(journal, arm, "confirm", number, [0.7, 0.85 + 0.01 * number])
            correct = torch.rand(100, generator=generator) < 0.9
            names = ["probe", "knn"] + (["head"] if arm == "ce" else [])
            journal.append(
                Scored(
                    arm=arm, phase="confirm", number=number, n_images=100,
                    metrics={f"test/{name}_top1": correct.float().mean().item() for name in names},
                    correct={name: pack(correct) for name in names},
                )
            )  # fmt: skip


def test_the_summary_holds_every_documented_fact(journal: Journal) -> None:
    confirm(journal, 3)
    summary = write_report(journal)
    assert json.loads((journal.path.parent / "summary.json").read_text()) == summary
    assert {"study", "metric", "commit", "versions", "arms", "verdict", "test_evaluations"} <= set(
        summary
    )
    supcon, ce = summary["arms"]["supcon"], summary["arms"]["ce"]
    assert supcon["trials"] == 3
    assert supcon["outcomes"] == {"completed": 2, "stopped": 1}
    assert supcon["best"]["number"] == 1
    assert supcon["best"]["val"] == {"probe_top1": 0.9, "knn_top1": 0.89}
    assert supcon["ledger"] == {"epochs": 21, "views": 2100, "train_seconds": 21}
    assert supcon["confirm"]["val"]["probe_top1"] == pytest.approx([0.85, 0.86, 0.87])
    assert len(ce["confirm"]["test_head_top1"]) == 3
    assert "test_head_top1" not in supcon["confirm"]
    assert summary["verdict"]["n_seeds"] == 3
    low, high = summary["verdict"]["ci95"]
    assert low < summary["verdict"]["difference"] < high
    assert summary["test_evaluations"] == 6


@pytest.mark.parametrize("n_seeds", [0, 2])
def test_fewer_than_three_seeds_give_no_verdict(journal: Journal, n_seeds: int) -> None:
    confirm(journal, n_seeds)
    verdict = write_report(journal)["verdict"]
    assert verdict["difference"] is None
    assert verdict["text"].startswith("No verdict")


def test_the_verdict_is_supcon_minus_ce_whatever_the_order_of_arms(journal: Journal) -> None:
    confirm(journal, 3)
    there = write_report(journal)["verdict"]
    arms = {"ce": {"loss.name": "ce"}, "supcon": {"loss.name": "supcon"}}
    journal.events[0] = journal.opened.model_copy(update={"space": TREE | {"arms": arms}})
    assert write_report(journal)["verdict"] == there


def test_the_table_shows_every_classifier_of_every_arm(journal: Journal) -> None:
    confirm(journal, 3)
    rows = results_table(write_report(journal))[1:]
    assert [row[:2] for row in rows] == [
        ["supcon winner", "linear probe"], ["supcon winner", "kNN"],
        ["ce winner", "linear probe"], ["ce winner", "kNN"], ["ce winner", "CE head"],
    ]  # fmt: skip
    assert rows[0][2] == "86.00 +- 1.00"


def test_the_picture_shows_a_line_for_every_trial(journal: Journal) -> None:
    confirm(journal, 3)
    write_report(journal)
    picture = ElementTree.parse(journal.path.parent / "curves.svg").getroot()
    lines = [node for node in picture.iter() if node.tag.endswith("polyline")]
    assert len(lines) == 12
    points = [point for line in lines for point in line.attrib["points"].split()]
    assert len(points) == sum(len(trial.reports) for trial in journal.trials.values())
    for point in points:
        x, y = map(float, point.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_trials_csv_has_a_row_for_every_trial(journal: Journal) -> None:
    confirm(journal, 3)
    write_report(journal)
    rows = list(csv.DictReader((journal.path.parent / "trials.csv").open()))
    assert len(rows) == 12
    first = rows[0]
    assert (first["arm"], first["phase"], first["number"]) == ("ce", "search", "0")
    assert (first["outcome"], first["epochs"], first["seed"]) == ("completed", "9", "0")
    assert first["optim.lr_per_256"] == "0.1"
    assert rows[-1]["test/probe_top1"] != ""


def test_a_study_without_a_finished_trial_still_has_a_report(tmp_path: Path) -> None:
    opened = Opened(study="x", space=TREE, commit="abc", versions={})
    log = Journal.create(tmp_path / "x" / "events.jsonl", opened)
    log.append(Ask(arm="ce", phase="search", number=0, params={}, seed=0))
    summary = write_report(log)
    assert summary["arms"]["ce"]["best"] is None
    assert summary["arms"]["ce"]["outcomes"] == {"unfinished": 1}
    assert not (tmp_path / "x" / "best").exists()


def test_the_exported_config_is_that_of_the_best_trial(journal: Journal, tmp_path: Path) -> None:
    out = tmp_path / "best.yaml"
    assert export([str(journal.path.parent), "--arm", "ce", "--out", str(out)]) == 0
    config = load_config(out)
    assert config == best_config(journal, "ce")
    assert (config.loss.name, config.run.seed, config.optim.lr_per_256) == ("ce", 10, 0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--arm", "cs"], "the study has supcon, ce"), (["--out", "."], "exists already")],
)
def test_export_explains_what_it_cannot_do(
    journal: Journal, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert export([str(journal.path.parent), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_labels_come_back_as_they_were_packed() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 500)
    assert unpack_labels(pack_labels(labels)).tolist() == labels.tolist()


def test_bits_come_back_as_they_were_packed() -> None:
    correct = torch.rand(101, generator=torch.Generator().manual_seed(0)) < 0.5
    assert unpack(pack(correct), 101).tolist() == correct.tolist()
