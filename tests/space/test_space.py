"""A space: what an arm draws, what a trial is, and when it is compared."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from search.space.distribution import Distribution
from search.space.loading import parse_space
from search.space.space import Asha, Space
from supcon.parsing import UserError

MINIMAL: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"loss.temperature": {"loguniform": [0.05, 0.5]}},
    "budget": {"trials": 4},
    "scheduler": {"asha": {"grace": 1, "reduction": 3}},
}


def space(**changes: Any) -> Space:
    return parse_space(MINIMAL | changes, "x.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parms": {}}, "unknown key 'parms'; did you mean 'params'?"),
        ({"budget": {"trials": 0}}, "budget.trials must be greater than or equal to 1, got 0"),
        ({"scheduler": {"asha": {"reduction": 1}}}, "scheduler.asha.reduction must be"),
        ({"scheduler": "hyperband"}, "scheduler: must be auto, none, or a section as {asha"),
        ({"sampler": "gp"}, "sampler must be 'tpe', 'random' or 'points', got 'gp'"),
        ({"budget": {"time": "soon"}}, "budget.time: must be seconds, or a text such as 90m"),
        ({"budget": {"time": "1:30"}}, "budget.time: 1:30 may be hours and minutes, or minutes"),
        ({"budget": {"time": "1-12:00:00"}}, "budget.time: must be seconds, or a text such as 90m"),
        ({"budget": {"time": "1h30"}}, "budget.time: must be seconds, or a text such as 90m"),
        ({"budget": {"time": "30m1h"}}, "budget.time: must be seconds, or a text such as 90m"),
        ({"budget": {"time": "-5"}}, "budget.time: must be seconds, or a text such as 90m"),
        ({"budget": {"time": "9" * 400 + "d"}}, "budget.time must be a finite number"),
        ({"budget": {"time": "0m"}}, "budget.time must be greater than 0"),
        ({"resources": {"cpu": 0}}, "resources.cpu must be greater than or equal to 0.01, got 0"),
        ({"budget": 5}, "budget must be a section"),
    ],
)
def test_a_bad_section_is_refused_in_words_that_name_the_key(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        space(**changes)
    assert message in str(error.value)
    assert all(line.startswith("x.yaml: ") for line in str(error.value).splitlines())


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
    ("text", "seconds"),
    [
        (90, 90),
        ("600", 600),
        ("90s", 90),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("10m5s", 605),
        ("0.5m", 30),
        ("1d", 86400),
        ("1d12h", 129600),
    ],
)
def test_time_is_given_in_days_hours_minutes_or_seconds(text: Any, seconds: float) -> None:
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
    ("share", "trials", "expected"),
    [
        (0.1, 5, 2),
        (0.1, 20, 2),
        (0.1, 30, 3),
        (0.1, 100, 10),
        (0.3, 10, 3),
        (0.5, 9, 4),
        (0, 50, 0),
    ],
)
def test_sentinels_are_the_share_asked_for_and_at_least_two(
    share: float, trials: int, expected: int
) -> None:
    asha = Asha(sentinels=share)
    assert sum(asha.is_sentinel(number) for number in range(trials)) == expected


@pytest.mark.parametrize(
    ("selection", "metric"),
    [("auto", "val/probe_top1"), ("top1", "val/probe_top1"), ("balanced", "val/probe_balanced")],
)
def test_all_arms_and_trials_select_by_what_the_space_says(selection: str, metric: str) -> None:
    found = space(selection=selection)
    assert found.selection_metric == metric
    for arm in found.arms:
        assert found.arm_config(arm).selection_metric == metric
        assert found.trial_config(arm, {}, 3).selection_metric == metric


def test_what_selects_is_set_for_the_space_and_not_for_its_base() -> None:
    with pytest.raises(UserError, match=r"base.probe.selection: .* set 'selection' of the space"):
        space(base={"run": {"epochs": 9}, "probe": {"selection": "balanced"}})


def test_the_sampler_may_be_drawn_for_both_arms_and_the_adjustment_for_one_that_has_it() -> None:
    drawn = {
        "data.sampler": {"choice": ["natural", "balanced"]},
        "loss.logit_adjustment": {"uniform": [0, 2], "when": {"data.sampler": "natural"}},
    }
    found = space(params=drawn)
    assert list(found.arm_params("supcon")) == ["data.sampler"]
    assert list(found.arm_params("ce")) == ["data.sampler", "loss.logit_adjustment"]


@pytest.mark.parametrize(
    ("losses", "baseline", "pairs"),
    [
        (["ce"], None, []),
        (["supcon", "ce"], None, ["ac"]),  # whatever the order, supcon minus ce
        (["ce", "supcon"], None, ["ca"]),
        (["ce", "ce"], None, ["ac"]),
        (["sincere", "supcon"], None, ["ac"]),
        (["supcon", "ce"], "a", ["ca"]),
        (["supcon", "ce", "sincere"], None, ["ac", "dc"]),
        (["supcon", "ce", "sincere", "ce"], "e", ["ae", "ce", "de"]),
        (["supcon", "simclr", "sincere"], "c", ["ac", "dc"]),
    ],
)
def test_each_other_arm_is_compared_with_the_baseline_which_is_ce_by_default(
    losses: list[str], baseline: str | None, pairs: list[str]
) -> None:
    arms = {name: {"loss.name": loss} for name, loss in zip("acde", losses, strict=False)}
    found = space(arms=arms, baseline=baseline)
    assert ["".join(pair) for pair in found.comparisons] == pairs


def test_a_space_without_a_baseline_is_written_without_one() -> None:
    assert "baseline" not in space().dump()
    named = space(baseline="supcon")
    assert named.dump()["baseline"] == "supcon"
    assert parse_space(named.dump(), "x") == named
