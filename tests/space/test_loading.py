"""Space files and flags: a space from YAML, and the same one with something changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from search.space.loading import load_space, parse_space, read_space, with_base, with_resources
from supcon.parsing import UserError, parse_assignment

SPACES = Path(__file__).resolve().parents[2] / "spaces"
MINIMAL: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"loss.temperature": {"loguniform": [0.05, 0.5]}},
    "budget": {"trials": 4},
    "scheduler": {"asha": {"grace": 1, "reduction": 3}},
}


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_is_valid_and_opens_with_its_command(path: Path) -> None:
    assert load_space(path, {}).name == path.stem
    assert path.read_text().startswith(f"# python search/run.py --space spaces/{path.name}")


def test_a_dumped_space_parses_to_the_same_space() -> None:
    first = load_space(SPACES / "cifar100.yaml", {}).dump()
    assert parse_space(yaml.safe_load(yaml.safe_dump(first)), "x").dump() == first


@pytest.mark.parametrize(
    ("total_epochs", "promotion", "rungs"),
    [
        (26 * 4, True, (1, 3, 9, 26)),
        (26 * 5, True, (3, 9, 26)),
        (None, True, (3, 9, 26)),
        (26 * 4, False, (3, 9, 26)),
    ],
)
def test_a_small_budget_has_an_earlier_rung_and_a_larger_one_later_moves_none(
    total_epochs: int | None, promotion: bool, rungs: tuple[int, ...]
) -> None:
    changes = {"run.epochs": 26, "budget": {"total_epochs": total_epochs, "trials": 9}}
    changes |= {"scheduler": {"asha": {"promotion": promotion}}}
    space = load_space(SPACES / "digits.yaml", changes)
    assert space.rungs == rungs
    logged = parse_space(space.dump() | {"budget": {"total_epochs": 2600}}, "x")
    assert logged.rungs == rungs


def test_in_an_older_log_no_trial_could_pause() -> None:
    tree = load_space(SPACES / "digits.yaml", {}).dump()
    del tree["scheduler"]["asha"]["promotion"]
    asha = read_space(tree, "x").scheduler.asha
    assert asha is not None
    assert not asha.promotion


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"run.epochs": 10}, lambda s: s.config.run.epochs == 10),
        ({"base.run.epochs": 10}, lambda s: s.config.run.epochs == 10),
        ({"budget.trials": 3}, lambda s: s.budget.trials == 3),
        ({"scheduler.asha.grace": 2}, lambda s: s.rungs[0] == 2),
        (
            {"arms.ce.loss.label_smoothing": 0.1},
            lambda s: s.arms["ce"]["loss.label_smoothing"] == 0.1,
        ),
        (
            {"params.loss.temperature": {"uniform": [0.1, 0.2]}},
            lambda s: s.params["loss.temperature"].kind == "uniform",
        ),
        ({"seed": 5}, lambda s: s.seed == 5),
    ],
)
def test_a_set_flag_reaches_the_base_config_and_every_section(
    tmp_path: Path, change: dict[str, Any], check: Any
) -> None:
    arms = {"supcon": {"loss.name": "supcon"}, "ce": {"loss.name": "ce"}}
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"arms": arms}))
    assert check(load_space(path, change))


def test_setting_a_drawn_parameter_fixes_it(tmp_path: Path) -> None:
    params = MINIMAL["params"] | {"optim.lr_per_256": {"loguniform": [0.01, 1.0]}}
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"params": params}))
    fixed = load_space(path, {"loss.temperature": 0.3})
    assert set(fixed.params) == {"optim.lr_per_256"}
    assert fixed.trial_config("supcon", {}, seed=0).loss.temperature == 0.3


def test_a_setting_that_is_fixed_leaves_the_points_too(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "params: {optim.lr_per_256: {uniform: [0.1, 1]}, augment.strength: {uniform: [0, 1]}}\n"
        "points: {ce: [{augment.strength: 0.3}]}\nbudget: {trials: 2}\n"
        "scheduler: none\n"
    )
    fixed = load_space(path, {"augment.strength": 0.5})
    assert fixed.point("ce", 0) == ({"optim.lr_per_256": 0.2}, None)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("params", {"loss.temperature": {"uniform": [0.1, 0.2]}}, "params"),
        ("arms", {"ce": {"loss.name": "ce"}}, "arms"),
        ("arms.ce", {"loss.name": "ce", "optim.name": "adamw"}, "arms"),
    ],
)
def test_a_set_flag_may_give_a_whole_section(
    tmp_path: Path, key: str, value: Any, part: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    changed = load_space(path, {key: value}).dump()[part]
    assert (changed if key == part else changed["ce"]) == value


def test_a_set_flag_with_an_unknown_section_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(UserError, match=r"--set optm.warmup: unknown section .* 'optim'"):
        load_space(path, {"optm.warmup": 0.1})


def test_a_space_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: !!python/object/apply:os.system ['touch {tmp_path}/was_here']")
    with pytest.raises(UserError, match="not valid YAML: could not determine a constructor"):
        load_space(path, {})
    with pytest.raises(UserError, match="the value is not YAML"):
        parse_assignment(f"seed=!!python/object/apply:os.system ['touch {tmp_path}/was_here']", [])
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("arm", ["../ce", "a/b", "..", ""])
def test_an_arm_after_which_folders_are_named_stays_in_its_study(tmp_path: Path, arm: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"arms": {arm: {"loss.name": "ce"}}}))
    with pytest.raises(UserError, match="an arm's name must be letters, digits and _"):
        load_space(path, {})


def test_a_changed_base_leaves_the_rest_of_the_space_as_it_was() -> None:
    space = load_space(SPACES / "digits.yaml", {})
    changed = with_base(space, {"run.precision": "bf16", "optim.warmup": 0.05})
    assert (changed.config.run.precision, changed.config.optim.warmup) == ("bf16", 0.05)
    assert changed.config.run.epochs == space.config.run.epochs
    assert changed.dump() | {"base": 0} == space.dump() | {"base": 0}


def test_changed_resources_are_checked_and_the_source_is_named() -> None:
    space = parse_space(MINIMAL, "x.yaml")
    changed = with_resources(space, {"gpu": "auto"}, "--resume")
    assert (changed.resources.gpu, changed.resources.cpu) == ("auto", 1)
    assert changed.dump() | {"resources": 0} == space.dump() | {"resources": 0}
    with pytest.raises(UserError, match=r"^--resume: resources.gpu must be .* got -1"):
        with_resources(space, {"gpu": -1}, "--resume")
