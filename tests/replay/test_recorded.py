"""Recorded curves are read as they were written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from search.space.loading import parse_space
from tests.benchmarks.efficiency.recorded import accuracy, features, logit, read_records
from tests.replay.planted import TREE, space


def row(arm: str, number: int, scores: dict[int, float]) -> dict[str, object]:
    params = {"optim.lr_per_256": 0.1, "augment.strength": 0.25, "data.batch_size": 256}
    seconds = {epoch: 2.0 * epoch for epoch in scores}
    texts = {"params": params, "probe_top1": scores, "seconds": seconds}
    return {"arm": arm, "number": number, **{k: json.dumps(v) for k, v in texts.items()}}


def test_rows_of_an_arm_become_arrays_and_a_run_that_diverged_stays_at_the_lowest(
    tmp_path: Path,
) -> None:
    rows = [
        row("ce", 0, {1: 0.3, 3: 0.6, 9: 0.8}),
        row("ce", 1, {1: 0.2}),
        row("supcon", 0, {1: 0.5}),
    ]
    with (tmp_path / "x.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows(rows)
    found = read_records(tmp_path / "x.csv", space())["ce"]
    assert found.epochs == (1, 3, 9)
    assert found.number.tolist() == [0, 1]
    assert accuracy(found.logits) == pytest.approx(np.array([[0.3, 0.6, 0.8], [0.2, 0.2, 0.2]]))
    assert found.x[0] == pytest.approx([0, 0.25, 1])
    assert found.epoch_seconds.tolist() == [2, 2]


def test_a_choice_is_a_number_for_each_value_and_what_is_not_drawn_lies_in_the_middle() -> None:
    params = {
        "augment.policy": {"choice": ["crop_jitter", "randaugment"]},
        "optim.lr_per_256": {"loguniform": [0.1, 10]},
    }
    drawn = parse_space(TREE | {"params": params}, "x").arm_params("ce")
    known = {"augment.policy": "randaugment", "optim.lr_per_256": 1.0}
    assert features(known, drawn) == pytest.approx([0, 1, 0.5])
    assert features({"augment.policy": "randaugment"}, drawn) == [0, 1, 0.5]


def test_scores_of_0_and_1_have_finite_logits() -> None:
    scores = np.array([0.0, 0.3, 1.0])
    assert accuracy(logit(scores)) == pytest.approx(np.array([0.002, 0.3, 0.998]))
