"""Which parameters matter, on logs whose scores are known functions of the parameters."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.judge.importance import Importance, importances
from tests.written import WrittenStudy

RUNGS = (3, 9)
LR, STRENGTH = "optim.lr_per_256", "augment.strength"
PARAMS: dict[str, Any] = {
    LR: {"loguniform": [0.01, 1]}, STRENGTH: {"uniform": [0, 1]},
    "data.batch_size": {"pow2": [64, 512]},
    "optim.name": {"choice": ["sgd", "adamw"]},
    "optim.momentum": {"uniform": [0.5, 0.9], "when": {"optim.name": "sgd"}},
}  # fmt: skip
SCHEDULER = {"asha": {"grace": 3, "reduction": 3, "promotion": False}}
Score = Callable[[dict[str, Any], int], float]
"""Of params and epoch."""


def draw(rng: random.Random) -> dict[str, Any]:
    params: dict[str, Any] = {
        LR: 10 ** rng.uniform(-2, 0), STRENGTH: rng.random(),
        "data.batch_size": 2 ** rng.randint(6, 9), "optim.name": rng.choice(["sgd", "adamw"]),
    }  # fmt: skip
    if params["optim.name"] == "sgd":
        params["optim.momentum"] = rng.uniform(0.5, 0.9)
    return params


def quality(params: dict[str, Any]) -> float:
    """Best at a learning rate of 0.1, whatever the rest."""
    return 0.9 - 0.2 * abs(math.log10(params[LR]) + 1)


def write(path: Path, n: int, score: Score | None = None, n_stopped: int = 0) -> WrittenStudy:
    """In the folder `path`/<n>."""
    rng, study = random.Random(0), WrittenStudy(path / str(n), params=PARAMS, scheduler=SCHEDULER)
    for number in range(n + n_stopped):
        params = draw(rng)
        study.ask("ce", number, params=params)
        for epoch in RUNGS if number < n else RUNGS[:1]:
            study.report("ce", number, epoch, score(params, epoch) if score else quality(params))
        study.end("ce", number, "completed" if number < n else "stopped")
    return study


def found(study: WrittenStudy) -> Importance:
    result = importances(study, "ce")
    assert result is not None
    return result


def test_an_important_parameter_is_told_from_unimportant_ones(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = write(tmp_path, 60)
        result = found(study)
    assert next(iter(result.values)) == LR
    assert result.values[LR] > 0.5
    assert set(result.values) == set(study.space.arm_params("ce"))
    assert sum(result.values.values()) == pytest.approx(1)
    assert (result.epoch, result.n_trials, result.top) == (9, 60, 0.1)
    json.dumps(dataclasses.asdict(result), allow_nan=False)


def test_stopped_trials_change_nothing(tmp_path: Path) -> None:
    assert found(write(tmp_path / "a", 20, n_stopped=40)) == found(write(tmp_path, 20))


def test_what_only_speeds_learning_up_is_not_important_at_full_length(tmp_path: Path) -> None:
    def score(params: dict[str, Any], epoch: int) -> float:
        return quality(params) - (0.5 * params[STRENGTH] if epoch == 3 else 0)

    late = found(write(tmp_path, 60, score, n_stopped=100))
    early = found(write(tmp_path, 5, score, n_stopped=60))
    assert (early.epoch, early.n_trials) == (3, 65)
    assert early.values[STRENGTH] > 0.3
    assert late.values[STRENGTH] < 0.1


def test_with_few_trials_the_rung_that_most_reached_counts(tmp_path: Path) -> None:
    few = found(write(tmp_path, 4, n_stopped=2))
    assert (few.epoch, few.n_trials, few.top) == (3, 6, 0.5)
    assert found(write(tmp_path / "all", 4)).epoch == 9


def test_too_few_trials_say_nothing(tmp_path: Path) -> None:
    assert importances(write(tmp_path, 3), "ce") is None
    assert importances(write(tmp_path, 0), "ce") is None


def test_where_all_scores_are_equal_nothing_is_important(tmp_path: Path) -> None:
    result = found(write(tmp_path, 12, lambda params, epoch: 0.5))
    assert set(result.values.values()) == {0.0}
