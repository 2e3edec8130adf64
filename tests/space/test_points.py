"""Points of a space and from files: what runs first, or is run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.reporting.tables import trials_csv
from search.space.loading import parse_space
from search.space.points import read_points
from search.space.space import Space
from supcon.parsing import UserError
from supcon.plain_yaml import read
from tests.written import WrittenStudy

TREE: dict[str, Any] = {
    "name": "x",
    "params": {
        "optim.lr_per_256": {"loguniform": [0.01, 1]},
        "loss.temperature": {"uniform": [0.05, 0.5]},
        "data.batch_size": {"pow2": [16, 256]},
    },
    "budget": {"trials": 3},
}


def space(**changes: Any) -> Space:
    return parse_space(TREE | changes, "x.yaml")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"optim.lr_per_256": 3}, "points.ce[0]: optim.lr_per_256 must lie in loguniform[0.0"),
        ({"data.batch_size": 48}, "data.batch_size must lie in pow2[16, 256], got 48"),
        ({"loss.temperature": 0.1}, "points.ce[0]: 'loss.temperature' is not drawn for ce"),
        ({"optim.lr_per_25": 0.1}, "did you mean 'optim.lr_per_256'?"),
        ({"seed": -1}, "points.ce[0]: seed must be a whole number"),
    ],
)
def test_a_point_outside_of_the_space_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        space(points={"ce": [point]})
    assert message in str(error.value)


def test_an_unknown_arm_with_points_is_refused() -> None:
    with pytest.raises(UserError, match=r"points: unknown arm 'cee'; did you mean 'ce'\?"):
        space(points={"cee": []})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("no.csv", None, "cannot be read"),
        ("x.csv", "a,b\n1,2\n", "holds no search trial"),
        ("x.csv", "arm,phase,number\nce,search,0\n", "is not a study's trials.csv"),
        ("x.csv", "arm,phase,number,seed,a.b\nce,search,0,1,[\n", "is not a study's trials.csv"),
        ("x.csv", "arm,phase,number,seed\nce,search,0,1,2,3\n", "is not a study's trials.csv"),
        ("x.csv", "arm;phase;number\nce;search;0\n", "holds no search trial"),
        ("x.yaml", "- 1\n", "must hold sections"),
    ],
)
def test_a_file_without_points_is_refused(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_points(tmp_path / name)


def test_a_log_keeps_its_points() -> None:
    this = space(points={"ce": [{"seed": 3}]})
    assert parse_space(this.dump(), "x").points == this.points


def test_a_study_is_repeated_from_its_trials_csv_whatever_it_drew(tmp_path: Path) -> None:
    tree = read(
        "{name: x, budget: {trials: 3}, arms: {ce: {loss.name: ce}}, params: {"
        "optim.weight_decay: {choice: [1e-5, 1e-4, 0]}, model.weights: {choice: [timm, none]}, "
        "optim.clip_norm: {choice: [null, 1]}, model.backbone: {choice: [resnet18, '2024']}, "
        "optim.lr_per_256: {loguniform: [1e-9, 1e-3]}, data.batch_size: {choice: [1e2, 64]}}}"
    )
    params = {
        "optim.weight_decay": 1e-5,
        "model.weights": "none",
        "optim.clip_norm": None,
        "model.backbone": "2024",
        "optim.lr_per_256": 3.25e-8,
        "data.batch_size": 100.0,
    }
    study = WrittenStudy(tmp_path / "x", **tree)
    study.ask("ce", 0, params=params, seed=7)
    (tmp_path / "trials.csv").write_text(trials_csv(study), encoding="utf-8-sig")  # as Excel does
    points = read_points(tmp_path / "trials.csv")
    assert points == {"ce": [params | {"seed": 7}]}
    assert parse_space(tree | {"points": points}, "x").point("ce", 0) == (params, 7)


def test_small_numbers_and_null_survive_a_trials_csv(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "arm,phase,number,seed,optim.weight_decay,optim.clip_norm,optim.momentum,model.head,val/x\n"
        "ce,search,0,5,1e-05,null,,mlp,0.5\n"
        "ce,confirm,0,6,1e-05,null,,mlp,0.5\n"
    )
    point = {"optim.weight_decay": 1e-5, "optim.clip_norm": None, "model.head": "mlp", "seed": 5}
    assert read_points(tmp_path / "x.csv") == {"ce": [point]}
