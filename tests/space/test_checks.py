"""What a space must keep to: its keys, its ranges, its conditions and its budget."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from search.space.checks import check_moved, conditions
from search.space.loading import parse_space, read_space
from supcon.parsing import UserError
from tests.space.refusal import refusal
from tests.written import TREE

MINIMAL = TREE | {"budget": {"trials": 4}}


def when(parent: str, value: Any) -> dict[str, Any]:
    """A space that draws momentum on a condition."""
    momentum = {"uniform": [0, 0.9], "when": {parent: value}}
    params = {
        "optim.name": {"choice": ["sgd", "adamw"]},
        "loss.temperature": {"uniform": [0.1, 0.2]},
        "optim.momentum": momentum,
        "optim.weight_decay": {"choice": [0.0, 0.1]},
    }
    return {"params": params}


def arms_of(*losses: str) -> dict[str, Any]:
    return {f"{'abc'[i]}_{loss}": {"loss.name": loss} for i, loss in enumerate(losses)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": {"loss.temprature": {"uniform": [0, 1]}}}, "did you mean 'loss.temperature'?"),
        ({"params": {"optim.Ir": {"uniform": [0, 1]}}}, "params: unknown key 'optim.Ir'"),
        ({"params": {"loss.temperature": {"uniform": [0, 1]}}}, "must be greater than 0, got 0"),
        ({"params": {"augment.strength": {"uniform": [0, 2]}}}, "must be less than or equal to 1"),
        ({"params": {"data.batch_size": {"uniform": [32, 64]}}}, "must be a valid integer"),
        (
            {"params": {"optim.schedule": {"choice": ["cosine", "cos"]}}},
            "must be 'cosine', 'constant' or 'wsd', got 'cos'",
        ),
        (
            {
                "base": {"run": {"epochs": 9}, "optim": {"schedule": "wsd"}},
                "params": {
                    "optim.warmup": {"uniform": [0, 0.6]},
                    "optim.decay": {"uniform": [0.1, 0.7]},
                },
            },
            "optim.warmup + optim.decay must be at most 1, got 0.6 + 0.7",
        ),
        ({"params": {"run.epochs": {"int": [1, 9]}}}, "params.run.epochs: all trials must share"),
        ({"params": {"loss.name": {"choice": ["supcon", "ce"]}}}, "set it under arms"),
        ({"base": {"run": {"epochs": "many"}}}, "base: run.epochs must be a valid integer"),
        ({"base": {"runs": {}}}, "base: unknown key 'runs'; did you mean 'run'?"),
        ({"base": {"optim": {"lr": 1}}}, "base: unknown key 'optim.lr'"),
        ({"arms": {"supcon": {"loss.nam": "ce"}}}, "did you mean 'loss.name'?"),
        ({"arms": {"supcon": {"data.val_size": 0.3}}}, "all trials must share it"),
        ({"params": {"data.hold_out": {"int": [1, 2]}}}, "params.data.hold_out: all trials must"),
        ({"arms": {"supcon": {"data.unknown": "x"}}}, "arms.supcon.data.unknown: all trials must"),
        ({"arms": {"sup con": {"loss.name": "supcon"}}}, "letters, digits and _"),
        ({"arms": {}}, "at least one arm"),
        ({"baseline": "cee"}, "one of the arms (supcon, ce), got 'cee'; did you mean 'ce'?"),
        (
            {"arms": arms_of("supcon", "sincere", "simclr")},
            "baseline must name the arm that each other one is compared with: of a_supcon, "
            "b_sincere, c_simclr, none has loss.name ce, and one would be it by default; for "
            "example --set baseline=c_simclr",
        ),
        (
            {"arms": arms_of("ce", "supcon", "ce")},
            "of a_ce, b_supcon, c_ce, 2 have loss.name ce, and one would be it by default; for "
            "example --set baseline=a_ce",
        ),
        ({"budget": {}}, "budget must give total_epochs, trials or time"),
        ({"budget": {"total_epochs": 8}}, "total_epochs must be at least run.epochs (9)"),
        ({"scheduler": {"asha": {"grace": 10}}}, "grace must be at most run.epochs (9), got 10"),
        (
            {"base": {"run": {"epochs": 100}}},
            "grace must not be shorter than the warm-up (optim.warmup 0.1 of 100 epochs)",
        ),
        (
            {"base": {"run": {"epochs": 20}}, "params": {"optim.warmup": {"uniform": [0, 0.3]}}},
            "(optim.warmup 0.3 of 20 epochs): trials that still warm up say little; got 1, set it "
            "to 6 or more",
        ),
        (
            {"base": {"run": {"epochs": 9, "device": "cuda"}}},
            "resources.gpu must be more than 0 where run.device is cuda, or all trials would crowd "
            "onto one GPU that none has reserved, got 0; give each a share (--gpus-per-trial auto)",
        ),
        (
            {"base": {"run": {"epochs": 9, "device": "cpu"}}, "resources": {"gpu": 0.25}},
            "resources.gpu must be 0 where run.device is cpu, or a GPU would be reserved for "
            "nothing, got 0.25; train on it (--set run.device=auto), or on the CPU",
        ),
        ({"sampler": "points"}, "sampler: points needs points (--points FILE), got none"),
        (
            {"params": {"optim.weight_decay": {"choice": ["1e-5", "1e-4"]}}},
            "params: optim.weight_decay must be 1e-05, got '1e-5'",
        ),
        (
            {"params": {"model.pretrained": {"choice": ["yes", "no"]}}},
            "model.pretrained must be true or false, got 'yes'",
        ),
        ({"base": {"run": {"epochs": 0}}}, "base.run.epochs must be at least 1 in a search"),
        (
            {
                "params": {
                    "optim.momentum": {"uniform": [0, 1], "when": {"optim.lr_scaling": "lin"}}
                }
            },
            "params.optim.momentum: when: optim.lr_scaling must be 'linear' or 'sqrt', got 'lin'",
        ),
        (
            {"params": {"optim.momentum": {"int": [0, 1], "when": {"run.compile": "no"}}}},
            "params.optim.momentum: when: run.compile must be false, got 'no'",
        ),
        (when("optim.nam", "sgd"), "params.optim.momentum: when: unknown key 'optim.nam'"),
        (when("optim.name", "lars"), "when.optim.name must be one of its values (choice['sgd', "),
        (when("loss.temperature", 0.1), "must be a parameter of single values"),
        (when("optim.weight_decay", 0.1), "when.optim.weight_decay must be listed before"),
        ({"name": "../x"}, "name must be letters, digits"),
        ({"name": ""}, "name must be letters, digits"),
        ({"params": {}}, "params must name at least one parameter"),
        ({"base": {"run": {"seed": 1}}}, "base.run.seed: a search sets it itself"),
        ({"base": {"run.epochs": 5}}, "run.epochs must be nested: run: {epochs: ...}"),
    ],
)
def test_a_bad_space_is_refused_in_words_that_name_the_key(
    changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(MINIMAL | changes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim.momentum", 0.95, ""),
        ("optim.momentum", 1.5, "params: optim.momentum must be less than 1, got 1.5"),
        ("optim.warmup", 0.05, ""),
        ("optim.warmup", 0.5, "grace must not be shorter than the warm-up"),
    ],
)
def test_a_bound_may_be_moved_as_far_as_config_and_budget_allow(
    key: str, value: float, message: str
) -> None:
    params = {"optim.momentum": {"uniform": [0, 0.9]}, "optim.warmup": {"uniform": [0, 0.1]}}
    tree = MINIMAL | {"params": params | {key: {"uniform": [0, value]}}}
    moved = read_space(tree, "x")  # unchecked
    with pytest.raises(UserError, match=message) if message else nullcontext():
        check_moved(moved, key, value)


def test_what_a_parameter_hangs_on_is_collected_over_all_its_parents() -> None:
    params = {
        "optim.name": {"choice": ["sgd", "adamw"]},
        "optim.schedule": {"choice": ["cosine", "wsd"], "when": {"optim.name": "sgd"}},
        "optim.decay": {"uniform": [0.1, 0.5], "when": {"optim.schedule": "wsd"}},
    }
    drawn = parse_space(MINIMAL | {"params": params}, "x").arm_params("ce")
    assert conditions("optim.decay", drawn) == {"optim.name": "sgd", "optim.schedule": "wsd"}
    assert conditions("optim.name", drawn) == {}
