"""Which study a command line is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from search.log.events import Started
from search.log.folder import StudyFolder
from search.preflight.options import Options, parse_options
from search.preflight.which_study import Chosen, new_study, on_other_machine, study_to_resume
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
    assert chosen == Chosen(study.folder, study.space, (MEASURED,))
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
        "budget": {"total_epochs": 72, "trials": 99, "time": None}
    }
    assert chosen.measured == (MEASURED,)


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
