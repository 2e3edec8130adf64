"""The command line of a search as options, and as changes of its space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.preflight.options import Options, parse_options
from supcon.parsing import UserError


def options(*arguments: str) -> Options:
    return parse_options("text", ["--space", "x.yaml", *arguments])


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--trials", "3"], {"budget.trials": 3}),
        (["--time", "90m"], {"budget.time": "90m"}),
        (["--epochs", "5"], {"run.epochs": 5}),
        (["--seed", "7"], {"seed": 7}),
        (["--concurrency", "2"], {"resources.concurrency": 2}),
        (["--cpus-per-trial", "auto"], {"resources.cpu": "auto"}),
        (["--gpus-per-trial", "0.25"], {"resources.gpu": 0.25}),
        (["--set", "optim.warmup=0.05", "--set", "name=y"], {"optim.warmup": 0.05, "name": "y"}),
        (["--set", "points={}"], {"points": {}}),
        ([], {}),
    ],
)
def test_a_flag_changes_a_setting_of_the_space(flags: list[str], changes: dict[str, Any]) -> None:
    assert options(*flags).changes() == changes


def test_set_comes_last_and_the_last_of_two_flags_counts() -> None:
    found = options("--set", "budget.trials=5", "--trials", "3", "--seed", "1", "--seed", "2")
    assert found.changes() == {"budget.trials": 5, "seed": 2}


def test_points_from_a_file_take_the_place_of_sampler_and_budget(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("ce: [{optim.lr_per_256: 0.1}]\n")
    found = options("--points", str(tmp_path / "p.yaml"), "--trials", "3").changes()
    assert found == {
        "budget.total_epochs": None, "budget.trials": 3, "sampler": "points",
        "points": {"ce": [{"optim.lr_per_256": 0.1}]},
    }  # fmt: skip


def test_to_extend_a_study_is_to_resume_it() -> None:
    assert options("--extend", "--trials", "9").resume
    assert not options("--trials", "9").resume


def test_the_command_is_kept_as_it_could_be_typed_again() -> None:
    command = options("--set", "points={}", "--name", "a b").command
    assert command == "python search/run.py --space x.yaml --set 'points={}' --name 'a b'"


def test_a_value_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(UserError, match="the value is not YAML"):
        options("--set", "optim.warmup=[").changes()


@pytest.mark.parametrize("flags", [["--trials", "many"], ["--gpus-per-trial", "all"], ["--fast"]])
def test_an_argument_that_makes_no_sense_ends_with_the_usage(
    capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    with pytest.raises(SystemExit):
        options(*flags)
    assert flags[0] in capsys.readouterr().err


def test_text_is_what_was_typed_and_all_else_is_yaml() -> None:
    typed = ["data.root=/x/set #2", "base.data.root=on", "name=2024", "loss.temperature=1e-2"]
    found = options(*(f"--set={text}" for text in typed)).changes()
    assert found == {
        "data.root": "/x/set #2", "base.data.root": "on", "name": "2024", "loss.temperature": 0.01
    }  # fmt: skip
