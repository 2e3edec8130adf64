"""Recorded learning curves are those that a search of random configurations would see."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import yaml

from search.space.loading import parse_space
from search.strategy.search_order import SearchOrder
from tests.benchmarks.record.__main__ import curves, main, scored_after
from tests.written import TREE, WrittenStudy


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, (1,)), (2, (1, 2)), (12, (1, 2, 3, 4, 6, 8, 12)), (9, (1, 2, 3, 4, 6, 8, 9))],
)
def test_epochs_are_scored_densely_at_first(epochs: int, expected: tuple[int, ...]) -> None:
    assert scored_after(epochs) == expected


def test_configurations_and_seeds_are_those_of_a_random_search(tmp_path: Path) -> None:
    rules = {"sampler": "random", "scheduler": "none", "budget": {"trials": 3}}
    study = WrittenStudy(tmp_path, **rules)
    asked = study.follow(SearchOrder(study))
    found = list(curves(study.space, trials=3, repeated=0, seeds=1))
    assert [(c.arm, c.number, c.params, c.seed) for c in found] == [
        (ask.arm, ask.number, ask.params, ask.seed) for ask in asked
    ]


def test_the_first_configurations_are_repeated_on_other_seeds_evenly_among_the_others() -> None:
    space = parse_space(TREE | {"sampler": "random"}, "x")
    found = list(curves(space, trials=4, repeated=2, seeds=3))
    assert [(c.number, c.repeat) for c in found if c.arm == "ce"] == [
        *[(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (1, 2), (3, 0)]
    ]
    assert [c.arm for c in found[:4]] == ["supcon", "ce"] * 2
    assert len({c.seed for c in found}) == len(found)
    assert found[2].params == found[0].params


@pytest.mark.slow
def test_what_a_file_has_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {
        "data": {"name": "digits", "train_size": 300},
        "model": {"backbone": "test_resnet", "stem": "full"},
        "run": {"epochs": 2, "precision": "fp32"},
    }
    params = {"optim.lr_per_256": {"loguniform": [0.1, 1]}}
    tree = {"name": "x", "base": base, "params": params, "budget": {"trials": 9}}
    tree["base"]["data"]["batch_size"] = 64  # type: ignore[index]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(tree))
    out = tmp_path / "curves" / "x.csv"

    def record(trials: int) -> list[dict[str, str]]:
        line = ["record", str(tmp_path / "x.yaml"), "--out", str(out), "--trials", str(trials)]
        monkeypatch.setattr(sys, "argv", [*line, "--repeated", "0", "--seeds", "1"])
        main()
        with out.open(newline="") as file:
            return list(csv.DictReader(file))

    (supcon, ce) = record(1)
    assert (supcon["arm"], ce["arm"]) == ("supcon", "ce")
    for row in (supcon, ce):
        assert [*json.loads(row["probe_top1"])] == ["1", "2"]
        assert json.loads(row["seconds"])["1"] < json.loads(row["seconds"])["2"]
    assert json.loads(ce["head_top1"])
    assert not json.loads(supcon["head_top1"])
    before = out.read_text()
    again = record(2)
    assert len(again) == 4
    assert out.read_text().startswith(before)
