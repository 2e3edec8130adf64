"""Which study a command line is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from search.log.events import Started
from search.log.folder import StudyFolder
from search.log.journal import Journal
from search.preflight.options import Options, parse_options
from search.preflight.which_study import (
    Chosen,
    chosen_study,
    new_study,
    on_other_machine,
    study_to_resume,
)
from search.space.loading import parse_space
from search.space.resources import Footprint
from supcon.parsing import UserError
from tests.written import TREE, WrittenStudy

MEASURED = Footprint(
    backbone="resnet18", batch_size=256, precision="auto", memory=10**9, views_per_second=900,
    cpu=4, gpu=0.25,
)  # fmt: skip
AUTO = {"resources": {"cpu": 1, "gpu": "auto"}}


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    """One that was measured, beside its space file."""
    study = WrittenStudy(tmp_path / "results", **AUTO)
    study.add(Started, study="x", space=study.tree, commit="", versions={}, measured=(MEASURED,))
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(study.tree))
    return study


def options(study: WrittenStudy, *arguments: str) -> Options:
    results = study.folder.path.parent
    where = ["--space", str(results.parent / "x.yaml"), "--results", str(results)]
    return parse_options("", [*where, *arguments])


def test_a_new_study_is_numbered_where_there_are_others_of_its_space(study: WrittenStudy) -> None:
    results = study.folder.path.parent
    assert new_study(options(study)).folder == StudyFolder(results / "x-2")
    (results / "x-2").mkdir()
    chosen = new_study(options(study, "--seed", "7"))
    assert chosen.folder == StudyFolder(results / "x-3")
    assert chosen.space.seed == 7
    assert chosen.must_measure
    assert new_study(options(study, "--name", "mine")).folder.name == "mine"


def test_the_newest_study_of_the_space_goes_on_with_what_it_measured(study: WrittenStudy) -> None:
    chosen = study_to_resume(options(study, "--resume"))
    assert chosen == Chosen(study.folder, study.space, (MEASURED,), goes_on=True)
    assert not chosen.must_measure


def test_a_study_of_another_space_is_not_taken_for_one_of_this(study: WrittenStudy) -> None:
    (study.folder.path.parent.parent / "x.yaml").write_text(yaml.safe_dump(TREE | {"name": "y"}))
    with pytest.raises(UserError, match="holds no study of 'y'; start one without --resume"):
        study_to_resume(options(study, "--resume"))
    with pytest.raises(UserError, match="x is a study of 'x', not of 'y'"):
        study_to_resume(options(study, "--resume", "--name", "x"))


def test_an_extended_study_goes_on_with_the_larger_budget(study: WrittenStudy) -> None:
    chosen = study_to_resume(
        options(study, "--extend", "--trials", "99", "--set", "budget.total_epochs=72")
    )
    assert chosen.space.dump() == study.space.dump() | {
        "budget": {"total_epochs": 72, "trials": 99, "time": None, "give_up": 8}
    }
    assert chosen.measured == (MEASURED,)


def test_one_line_starts_a_study_and_goes_on_with_it(study: WrittenStudy) -> None:
    new = chosen_study(options(study, "--continue", "--name", "other"))
    assert not new.goes_on
    assert new.folder.name == "other"
    for flags in ([], ["--name", "x"], ["--trials", "8", "--set", "run.epochs=9", "--seed", "0"]):
        assert chosen_study(options(study, "--continue", *flags)).folder == study.folder
        assert chosen_study(options(study, "--continue", *flags)).goes_on
    assert not chosen_study(options(study)).goes_on


def test_a_study_whose_name_was_set_is_found_by_the_same_line(study: WrittenStudy) -> None:
    line = options(study, "--continue", "--set", "name=other")
    new = chosen_study(line)
    assert (new.folder.name, new.goes_on) == ("other", False)
    opened = Started(study="other", space=new.space.dump(), commit="", versions={})
    Journal.create(new.folder.events, opened).close()
    assert chosen_study(line).folder == new.folder
    assert chosen_study(line).goes_on


@pytest.mark.parametrize(
    "flags",
    [
        ["--trials", "8", "--epochs", "9"],
        ["--set", "budget={trials: 8, total_epochs: 36}"],
        ["--set", "params.optim.lr_per_256={loguniform: [0.1, 1]}"],
        ["--set", "run.precision=auto", "--set", "confirm.top=2"],
        ["--set", "points={}"],
    ],
)
def test_the_values_that_a_study_was_started_with_change_nothing(
    study: WrittenStudy, flags: list[str]
) -> None:
    assert study_to_resume(options(study, "--resume", *flags)).space == study.space


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--trials", "9", "--epochs", "9"], "budget.trials"),
        (["--epochs", "3", "--set", "scheduler.asha.grace=2"], "run.epochs, scheduler.asha.grace"),
        (["--set", "params.optim.lr_per_256={loguniform: [0.1, 2]}"], "params.optim.lr_per_256"),
        (["--set", "optim.momentum=0.5"], "optim.momentum"),
    ],
)
def test_values_that_differ_are_named_and_no_others(
    study: WrittenStudy, flags: list[str], named: str
) -> None:
    with pytest.raises(UserError, match=rf"started with, but {named} was given with another"):
        study_to_resume(options(study, "--resume", *flags))


@pytest.mark.parametrize(("given", "meant"), [("16", 16), ("null", None)])
def test_an_arm_that_gave_up_may_be_given_more_patience(
    study: WrittenStudy, given: str, meant: int | None
) -> None:
    chosen = study_to_resume(options(study, "--extend", "--set", f"budget.give_up={given}"))
    assert chosen.space.budget.give_up == meant
    with pytest.raises(UserError, match="give_up must not be smaller than before, 8; got 7"):
        study_to_resume(options(study, "--extend", "--set", "budget.give_up=7"))


@pytest.mark.parametrize(
    "flags", [["--extend", "--trials", "99", "--seed", "1"], ["--resume", "--seed", "1"]]
)
def test_nothing_but_budget_and_resources_may_change(study: WrittenStudy, flags: list[str]) -> None:
    with pytest.raises(UserError, match="goes on with the space it was started with, but seed was"):
        study_to_resume(options(study, *flags))


def test_a_study_may_go_on_with_other_resources_which_are_measured_anew() -> None:
    known = Chosen(StudyFolder(Path("x")), parse_space(TREE | AUTO, "x"), (MEASURED,))
    given: dict[str, Any] = {"resources.cpu": "auto", "resources.concurrency": 2}
    again = on_other_machine(known, given)
    assert again.must_measure
    assert again.space.resources.concurrency == 2
    assert on_other_machine(known, {"resources.concurrency": 2}).measured
    assert on_other_machine(known, {}) is known


def test_fixed_shares_need_no_measurement() -> None:
    space = parse_space(TREE | {"resources": {"cpu": 2, "gpu": 0.25}}, "x")
    assert not Chosen(StudyFolder(Path("x")), space).must_measure
