"""Bounds that the best trials lie at, and the spaces that are proposed for them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from search.judge.range_edges import edges, wider, wider_yaml
from search.log.events import Outcome, Started
from search.log.study import Study
from search.preflight.options import parse_options
from search.preflight.which_study import new_study
from search.space.loading import load_space
from tests.written import WrittenStudy

Drawn = list[tuple[dict[str, Any], float]]
"""Params and score of each trial."""


def write(
    path: Path, params: dict[str, Any], trials: Drawn, outcome: Outcome = "completed", **more: Any
) -> WrittenStudy:
    tree = {"budget": {"trials": 9}, "scheduler": "none", "params": params} | more
    study = WrittenStudy(path, **tree)
    extend(study, trials, "ce", outcome)
    return study


def extend(study: WrittenStudy, trials: Drawn, arm: str, outcome: Outcome = "completed") -> None:
    for number, (params, score) in enumerate(trials, start=len(study.log.of(arm))):
        study.ask(arm, number, params=params)
        study.report(arm, number, 9, score, decision="done")
        study.end(arm, number, outcome)


@pytest.mark.parametrize(
    ("key", "distribution", "value", "bound", "widened"),
    [
        ("optim.lr_per_256", {"loguniform": [0.01, 1]}, 0.0124, "low", 0.001),
        ("optim.lr_per_256", {"loguniform": [0.01, 1]}, 0.0127, None, None),
        ("optim.lr_per_256", {"loguniform": [0.01, 1]}, 0.9, "high", 10),
        ("optim.lr_per_256", {"loguniform": [0.1, 999]}, 950.0, "high", 1000),
        ("augment.strength", {"uniform": [0.4, 0.8]}, 0.79, "high", 1.0),
        ("augment.strength", {"uniform": [0.5, 0.9]}, 0.89, "high", 1.0),
        ("augment.strength", {"uniform": [0.2, 0.9]}, 0.89, "high", 0.988),
        ("augment.strength", {"uniform": [0.2, 1.0]}, 1.0, "high", None),
        ("augment.strength", {"uniform": [0, 1.0]}, 0.01, "low", None),
        ("augment.strength", {"uniform": [0.4, 0.8], "step": 0.1}, 0.4, "low", 0.2),
        ("augment.strength", {"uniform": [0.4, 0.8], "step": 0.1}, 0.5, None, None),
        ("augment.strength", {"uniform": [0.4, 0.8], "step": 0.4}, 0.4, "low", 0.0),
        ("optim.momentum", {"uniform": [0.5, 0.97]}, 0.97, "high", None),
        ("data.batch_size", {"pow2": [64, 256]}, 256, "high", 512),
        ("data.batch_size", {"pow2": [64, 256]}, 64, "low", 32),
        ("data.batch_size", {"pow2": [64, 256]}, 128, None, None),
        ("data.batch_size", {"pow2": [2, 256]}, 2, "low", None),
        ("data.batch_size", {"int": [64, 100]}, 100, "high", 118),
        ("data.batch_size", {"int": [64, 65]}, 65, "high", 66),
        ("data.batch_size", {"int": [64, 96], "step": 16}, 64, "low", 48),
        ("data.batch_size", {"logint": [64, 256]}, 65, "low", 32),
        ("data.batch_size", {"logint": [2, 3]}, 3, "high", 4),
        ("data.batch_size", {"choice": [64, 128]}, 64, None, None),
    ],
)  # fmt: skip
def test_a_bound_is_flagged_in_the_scale_of_its_parameter_and_moved_as_far_as_allowed(
    tmp_path: Path, key: str, distribution: Any, value: Any, bound: str | None, widened: Any
) -> None:
    study = write(tmp_path, {key: distribution}, [({key: value}, 0.9)])
    found = edges(study, "ce")
    assert [edge.bound for edge in found] == ([] if bound is None else [bound])
    for edge in found:
        assert edge.widened == pytest.approx(widened)
        assert type(edge.widened) in (type(None), type(edge.limit))
        assert (edge.best, edge.share) == (value, 1)
        json.dumps(dataclasses.asdict(edge), allow_nan=False)
    new = wider(study)
    assert (new is None) == (widened is None)
    if new is not None:
        assert new.name == "x-wider"
        ends = new.params[key].values
        assert ends[0 if bound == "low" else 1] == pytest.approx(widened)


STRENGTH = {"augment.strength": {"uniform": [0.2, 0.8]}}


def test_a_bound_moves_no_further_than_the_other_parameters_let_it(tmp_path: Path) -> None:
    params = {
        "optim.schedule": {"choice": ["cosine", "wsd"]},
        "optim.warmup": {"uniform": [0, 0.2]},
        "optim.decay": {"uniform": [0.1, 0.75], "when": {"optim.schedule": "wsd"}},
    }
    drawn = {"optim.schedule": "cosine", "optim.warmup": 0.2}
    study = write(tmp_path, params, [(drawn, 0.9)])
    (edge,) = edges(study, "ce")
    assert edge.widened == 0.25  # and not 0.3: warm-up and decay have a run between them
    space = wider(study)
    assert space is not None
    (tmp_path / "x.yaml").write_text(wider_yaml(space, "x.yaml"))
    assert load_space(tmp_path / "x.yaml", {}).params["optim.warmup"].values == (0, 0.25)


def test_half_of_the_best_tenth_is_enough(tmp_path: Path) -> None:
    values = [0.5, 0.21] + [0.5] * 18
    trials = [({"augment.strength": v}, 0.9 - 0.01 * i) for i, v in enumerate(values)]
    (edge,) = edges(write(tmp_path, STRENGTH, trials), "ce")
    assert (edge.bound, edge.limit, edge.best, edge.share) == ("low", 0.2, 0.5, 0.5)
    last = write(tmp_path / "last", STRENGTH, trials[2:] + trials[:2][::-1])
    assert edges(last, "ce") == [edge]
    without = write(tmp_path / "without", STRENGTH, trials[:1] + trials[2:])
    assert edges(without, "ce") == []


def test_only_trials_that_were_trained_to_the_end_count(tmp_path: Path) -> None:
    study = write(tmp_path, STRENGTH, [({"augment.strength": 0.2}, 0.9)], "stopped")
    assert edges(study, "ce") == []
    assert wider(study) is None


def test_a_parameter_that_the_best_trial_did_not_draw_has_no_best_value(tmp_path: Path) -> None:
    params = {
        "optim.name": {"choice": ["sgd", "adamw"]},
        "optim.momentum": {"uniform": [0.5, 0.9], "when": {"optim.name": "sgd"}},
    }
    adamw: tuple[dict[str, Any], float] = ({"optim.name": "adamw"}, 0.9)
    sgd: tuple[dict[str, Any], float] = ({"optim.name": "sgd", "optim.momentum": 0.5}, 0.8)
    study = write(tmp_path, params, [adamw, sgd])
    assert edges(study, "ce") == []
    extend(study, [(adamw[0], 0.1)] * 10, "ce")
    (edge,) = edges(study, "ce")
    assert (edge.parameter, edge.bound, edge.best) == ("optim.momentum", "low", None)
    new = wider(write(tmp_path / "alone", params, [sgd]))
    assert new is not None
    assert new.params["optim.momentum"].when == {"optim.name": "sgd"}


def test_a_bound_is_moved_where_it_is_defined_and_shared_ones_once(tmp_path: Path) -> None:
    arms = {
        "supcon": {"loss.name": "supcon"},
        "ce": {"loss.name": "ce", "loss.label_smoothing": {"uniform": [0, 0.2]}},
    }
    best = {"data.batch_size": 256, "loss.label_smoothing": 0.2}
    study = write(tmp_path, {"data.batch_size": {"pow2": [64, 256]}}, [(best, 0.9)], arms=arms)
    extend(study, [({"data.batch_size": 256}, 0.9)], "supcon")
    new = wider(study)
    assert new is not None
    assert new.params["data.batch_size"].values == (64, 512)
    assert new.arms["ce"]["loss.label_smoothing"].values == pytest.approx((0, 0.3))
    extend(study, [({"data.batch_size": 64}, 0.95)], "supcon")
    new = wider(study)
    assert new is not None
    assert new.params["data.batch_size"].values == (32, 512)


def test_a_widened_space_can_be_read_back_from_its_file(tmp_path: Path) -> None:
    study = write(
        tmp_path, {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
        [({"optim.lr_per_256": 0.01}, 0.9)],
        scheduler={"asha": {"grace": 3}}, budget={"time": "1h"},
        points={"ce": [{"optim.lr_per_256": 0.5}]},
    )  # fmt: skip
    new = wider(study)
    assert new is not None
    text = wider_yaml(new, "results/x/x.wider.yaml")
    first = text.splitlines()[0]
    assert first.startswith("#")
    assert first.endswith("python search/run.py --space results/x/x.wider.yaml")
    path = tmp_path / "any.yaml"
    path.write_text(text)
    assert load_space(path, {}) == new


def test_a_widened_space_measures_the_shares_of_its_batch_sizes_anew(tmp_path: Path) -> None:
    found = {"backbone": "resnet18", "batch_size": 256, "precision": "auto", "memory": 2**30,
             "views_per_second": 1.0, "cpu": 1, "gpu": 0.5}  # fmt: skip
    study = write(
        tmp_path, {"data.batch_size": {"pow2": [64, 256]}}, [({"data.batch_size": 256}, 0.9)],
        resources={"gpu": "auto"},
    )  # fmt: skip
    # An older log has what was measured in its space.
    old = study.tree | {"resources": {"gpu": "auto", "measured": [found]}}
    study.add(Started, study="x", space=old, commit="", versions={})
    assert study.log.measured
    new = wider(Study.open(study.folder.path))
    assert new is not None
    (tmp_path / "any.yaml").write_text(wider_yaml(new, "x"))
    assert new_study(parse_options("", ["--space", str(tmp_path / "any.yaml")])).must_measure
