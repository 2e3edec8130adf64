"""Search spaces: what is accepted, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from search.space.distribution import Distribution
from search.space.loading import load_space, parse_space
from search.space.space import Space
from supcon.parsing import UserError, parse_assignment

SPACES = Path(__file__).resolve().parents[2] / "spaces"

MINIMAL: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"loss.temperature": {"loguniform": [0.05, 0.5]}},
    "budget": {"trials": 4},
    "scheduler": {"asha": {"grace": 1, "reduction": 3}},
}


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


def space(**changes: Any) -> Space:
    return parse_space(MINIMAL | changes, "x.yaml")


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_is_valid_and_opens_with_its_command(path: Path) -> None:
    assert load_space(path, {}).name == path.stem
    assert path.read_text().startswith(f"# python search/run.py --space spaces/{path.name}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parms": {}}, "unknown key 'parms'; did you mean 'params'?"),
        ({"params": {"loss.temprature": {"uniform": [0, 1]}}}, "did you mean 'loss.temperature'?"),
        ({"params": {"optim.Ir": {"uniform": [0, 1]}}}, "params: unknown key 'optim.Ir'"),
        ({"params": {"loss.temperature": [0.1, 1]}}, "must be one distribution such as"),
        ({"params": {"loss.temperature": {"loguni": [0.1, 1]}}}, "did you mean 'loguniform'?"),
        ({"params": {"loss.temperature": {"uniform": 0.1}}}, "followed by a list, got 0.1"),
        ({"params": {"loss.temperature": {"uniform": [0.1]}}}, "followed by [low, high]"),
        ({"params": {"loss.temperature": {"uniform": [1, 0.5]}}}, "low < high must hold, got [1.0"),
        ({"params": {"loss.temperature": {"uniform": [1, 1]}}}, "low < high must hold"),
        ({"params": {"loss.temperature": {"uniform": ["a", 1]}}}, "must be numbers, got ['a', 1]"),
        (
            {"params": {"loss.temperature": {"uniform": [0, float("inf")]}}},
            "must be finite numbers",
        ),
        ({"params": {"loss.temperature": {"loguniform": [0, 1]}}}, "low > 0 must hold"),
        ({"params": {"loss.temperature": {"uniform": [0, 1]}}}, "must be greater than 0, got 0"),
        ({"params": {"augment.strength": {"uniform": [0, 2]}}}, "must be less than or equal to 1"),
        ({"params": {"data.batch_size": {"pow2": [48, 256]}}}, "both ends must be powers of two"),
        ({"params": {"data.batch_size": {"int": [32.5, 64]}}}, "must be whole numbers"),
        ({"params": {"data.batch_size": {"uniform": [32, 64]}}}, "must be a valid integer"),
        ({"params": {"model.backbone": {"choice": ["resnet18"]}}}, "at least 2 values"),
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
        ({"arms": {"sup con": {"loss.name": "supcon"}}}, "letters, digits and _"),
        ({"arms": {}}, "at least one arm"),
        ({"budget": {}}, "budget must give total_epochs, trials or time"),
        ({"budget": {"total_epochs": 8}}, "total_epochs must be at least run.epochs (9)"),
        ({"budget": {"trials": 0}}, "budget.trials must be greater than or equal to 1, got 0"),
        ({"scheduler": {"asha": {"grace": 10}}}, "grace must be at most run.epochs (9), got 10"),
        ({"scheduler": {"asha": {"reduction": 1}}}, "scheduler.asha.reduction must be"),
        (
            {"base": {"run": {"epochs": 100}}},
            "grace must not be shorter than the warm-up (optim.warmup 0.1 of 100 epochs)",
        ),
        (
            {"base": {"run": {"epochs": 20}}, "params": {"optim.warmup": {"uniform": [0, 0.3]}}},
            "(optim.warmup 0.3 of 20 epochs): trials that still warm up say little; got 1, set it "
            "to 6 or more",
        ),
        ({"scheduler": "hyperband"}, "scheduler: must be none, or a section such as {asha"),
        ({"sampler": "gp"}, "sampler must be 'tpe', 'random' or 'points', got 'gp'"),
        ({"sampler": "points"}, "sampler: points needs points (--points FILE), got none"),
        ({"budget": {"time": "soon"}}, "budget.time: must be seconds, or a text such as 90m"),
        ({"budget": {"time": "0m"}}, "budget.time must be greater than 0"),
        (
            {"arms": {"ce": {"loss.name": "ce", "loss.label_smoothing": {"uni": [0, 1]}}}},
            "arms.ce.loss.label_smoothing: unknown distribution 'uni'",
        ),
        ({"params": {"optim.momentum": {"loguniform": [0.1, 0.9], "step": 0.1}}}, "takes no step"),
        ({"params": {"optim.momentum": {"uniform": [0, 0.9], "step": 0.4}}}, "number of steps"),
        ({"params": {"model.head_dim": {"int": [2, 9], "step": 0.5}}}, "step must be a whole num"),
        (when("optim.nam", "sgd"), "params.optim.momentum: when: unknown key 'optim.nam'"),
        (when("optim.name", "lars"), "when.optim.name must be one of its values (choice['sgd', "),
        (when("loss.temperature", 0.1), "must be a parameter of single values"),
        (when("optim.weight_decay", 0.1), "when.optim.weight_decay must be listed before"),
        ({"resources": {"cpu": 0}}, "resources.cpu must be greater than 0, got 0"),
        ({"name": "../x"}, "name must be letters, digits"),
        ({"name": ""}, "name must be letters, digits"),
        ({"params": {}}, "params must name at least one parameter"),
        ({"base": {"run": {"seed": 1}}}, "base.run.seed: a search sets it itself"),
        ({"base": {"run.epochs": 5}}, "run.epochs must be nested: run: {epochs: ...}"),
        ({"budget": 5}, "budget must be a section"),
    ],
)
def test_a_bad_space_is_refused_in_words_that_name_the_key(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        space(**changes)
    assert message in str(error.value)
    assert all(line.startswith("x.yaml: ") for line in str(error.value).splitlines())


def test_a_dumped_space_parses_to_the_same_space() -> None:
    first = load_space(SPACES / "cifar100.yaml", {})
    assert parse_space(yaml.safe_load(yaml.safe_dump(first.dump())), "x") == first


@pytest.mark.parametrize(
    ("grace", "reduction", "epochs", "rungs"),
    [
        (3, 3, 27, (3, 9, 27)),
        (1, 3, 9, (1, 3, 9)),
        (20, 3, 200, (20, 60, 180, 200)),
        (9, 2, 9, (9,)),
    ],
)
def test_rungs_are_a_factor_apart_and_end_at_full_length(
    grace: int, reduction: int, epochs: int, rungs: tuple[int, ...]
) -> None:
    asha = {"asha": {"grace": grace, "reduction": reduction}}
    assert space(base={"run": {"epochs": epochs}}, scheduler=asha).rungs == rungs


def test_an_arm_draws_only_what_has_an_effect_in_it() -> None:
    params = {
        "loss.temperature": {"loguniform": [0.05, 0.5]},
        "loss.label_smoothing": {"uniform": [0.0, 0.2]},
        "optim.lr_per_256": {"loguniform": [0.01, 1.0]},
    }
    both = space(params=params)
    assert set(both.arm_params("supcon")) == {"loss.temperature", "optim.lr_per_256"}
    assert set(both.arm_params("ce")) == {"loss.label_smoothing", "optim.lr_per_256"}


def test_a_parameter_is_drawn_where_any_drawn_switch_uses_it() -> None:
    schedule = {"choice": ["cosine", "wsd"]}
    decay = {"uniform": [0.1, 0.8]}
    switched = space(params={"optim.schedule": schedule, "optim.decay": decay})
    assert set(switched.arm_params("ce")) == {"optim.schedule", "optim.decay"}
    fixed = space(params=MINIMAL["params"] | {"optim.decay": decay})
    assert set(fixed.arm_params("supcon")) == {"loss.temperature"}


def test_without_a_scheduler_there_is_no_rung_but_the_end() -> None:
    free = space(scheduler="none")
    assert free.rungs == (9,)
    assert parse_space(free.dump(), "x") == free


def test_an_arm_may_draw_what_the_others_do_not() -> None:
    smoothing = {"uniform": [0.0, 0.2]}
    mine = space(
        arms={"a": {"loss.name": "ce"}, "b": {"loss.name": "ce", "optim.momentum": smoothing}}
    )
    assert set(mine.arm_params("a")) == set()
    assert mine.arm_params("b") == {"optim.momentum": Distribution.model_validate(smoothing)}
    assert mine.arm_config("b").loss.name == "ce"
    assert parse_space(yaml.safe_load(yaml.safe_dump(mine.dump())), "x") == mine


def test_a_condition_on_a_setting_that_is_not_drawn_is_decided_at_once() -> None:
    momentum = {"uniform": [0, 0.9], "when": {"optim.name": "sgd"}}
    params = MINIMAL["params"] | {"optim.momentum": momentum}
    assert "optim.momentum" in space(params=params).arm_params("ce")
    base = {"run": {"epochs": 9}, "optim": {"name": "adamw"}}
    assert "optim.momentum" not in space(params=params, base=base).arm_params("ce")


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90), ("90s", 90), ("2h", 7200), ("1h30m", 5400), ("10m5s", 605)]
)
def test_time_is_given_in_hours_minutes_or_seconds(text: Any, seconds: float) -> None:
    assert space(budget={"time": text}).budget.time == seconds


def test_a_trial_config_is_complete_and_carries_rungs_seed_and_threads() -> None:
    config = space(resources={"cpu": 2}).trial_config("supcon", {"loss.temperature": 0.2}, seed=7)
    assert config.loss.temperature == 0.2
    assert config.run.seed == 7
    assert config.run.eval_at == (1, 3, 9)
    assert config.run.threads == 2


def test_no_two_trials_share_a_seed() -> None:
    x = space()
    keys = [(arm, phase, n) for arm in x.arms for phase in ("search", "confirm") for n in range(50)]
    assert len({x.trial_seed(arm, phase, n) for arm, phase, n in keys}) == len(keys)


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


def test_a_set_flag_with_an_unknown_section_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(UserError, match=r"--set optm.warmup: unknown section .* 'optim'"):
        load_space(path, {"optm.warmup": 0.1})


@pytest.mark.parametrize(
    "pair",
    [
        {"uniform": [0.0, 1.0]},
        {"int": [1, 5]},
        {"pow2": [8, 64]},
        {"choice": ["a", None, 3]},
        {"uniform": [0.0, 1.0], "step": 0.25, "when": {"optim.name": "sgd"}},
    ],
)
def test_a_distribution_goes_back_to_its_yaml_form(pair: dict[str, Any]) -> None:
    assert Distribution.model_validate(pair).as_pair() == pair


def test_a_space_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: !!python/object/apply:os.system ['touch {tmp_path}/was_here']")
    with pytest.raises(UserError, match="not valid YAML: could not determine a constructor"):
        load_space(path, {})
    with pytest.raises(UserError, match="the value is not YAML"):
        parse_assignment(f"seed=!!python/object/apply:os.system ['touch {tmp_path}/was_here']")
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("arm", ["../ce", "a/b", "..", ""])
def test_an_arm_after_which_folders_are_named_stays_in_its_study(tmp_path: Path, arm: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"arms": {arm: {"loss.name": "ce"}}}))
    with pytest.raises(UserError, match="an arm's name must be letters, digits and _"):
        load_space(path, {})
