"""What a space must keep to, beyond the types of its fields.

Every dotted key is checked against the training config, every range at its ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from search.space.distribution import Distribution
from search.space.space import Space, is_plain_name
from supcon.config import as_setting, flatten, override
from supcon.parsing import UserError, check_key, nearest

# What all trials share: drawing one of these would compare unlike with unlike.
PROTOCOL = (
    "data.name",
    "data.root",
    "data.val_size",
    "data.split_seed",
    "data.train_size",
    "data.hold_out",
    "data.unknown",
    "data.image_size",
    "data.fit",
    "data.background",
    "data.pipeline",
    "augment.views",
    "probe.",
    "run.",
)


def check(space: Space) -> None:
    """Whether every key and value of a space fits the training config, and its rules each other.

    Raises:
        UserError: naming the key, the rule, what was given and the way out.
    """
    if not is_plain_name(space.name):
        raise UserError(
            f"name must be letters, digits, '.', '_' and '-', at most 200, got '{space.name}'; "
            f"set it with --set name=..."
        )
    keys = flatten(space.config)
    for own in ("seed", "eval_at"):
        if own in space.base.get("run", {}):
            raise UserError(
                f"base.run.{own}: a search sets it itself; the seed of the study is 'seed' "
                f"(--seed), the rungs are under scheduler"
            )
    if "selection" in space.base.get("probe", {}):
        raise UserError(
            "base.probe.selection: a search sets it itself; set 'selection' of the space "
            "(--set selection=balanced)"
        )
    if (epochs := space.config.run.epochs) < 1:
        raise UserError(
            f"base.run.epochs must be at least 1 in a search, got {epochs}; `python -m supcon "
            f"train` scores a backbone as it is"
        )
    if not space.params:
        raise UserError("params must name at least one parameter to draw, got none")
    for key in space.params:
        check_key(key, keys, "params")
        _check_not_protocol(key, "params")
        if key == "loss.name":
            raise UserError(
                "params.loss.name: the loss is what the arms differ in; set it under arms"
            )
    if not space.arms:
        raise UserError("arms must name at least one arm, got none")
    for arm, changes in space.arms.items():
        if not arm.isidentifier():
            raise UserError(f"arms.{arm}: an arm's name must be letters, digits and _")
        for key in changes:
            check_key(key, keys, f"arms.{arm}")
            _check_not_protocol(key, f"arms.{arm}")
        _check_conditions(space.drawn(arm), keys)
        params = space.arm_params(arm)
        _check_choices(params)
        override(space.arm_config(arm), _highest(params), "params")
        for key in params:
            for corner in _corners(params, key):
                override(space.arm_config(arm), corner, "params")
    _check_baseline(space)
    for arm in space.points:
        if arm not in space.arms:
            raise UserError(f"points: unknown arm '{arm}'{nearest(arm, space.arms)}")
        for number in range(len(space.points[arm])):
            space.point(arm, number)
    _check_device(space)
    _check_budget(space)


def _check_baseline(space: Space) -> None:
    """Whether it is clear what each arm is compared with."""
    names = ", ".join(space.arms)
    if space.baseline is not None and space.baseline not in space.arms:
        raise UserError(
            f"baseline must be one of the arms ({names}), got '{space.baseline}'"
            f"{nearest(space.baseline, space.arms)}"
        )
    n_plain = len(space.plain_arms)
    if space.baseline is None and len(space.arms) > 2 and n_plain != 1:
        raise UserError(
            f"baseline must name the arm that each other one is compared with: of {names}, "
            f"{n_plain or 'none'} {'have' if n_plain else 'has'} loss.name ce, and one would be it "
            f"by default; for example --set baseline={[*space.arms, *space.plain_arms[:1]][-1]}"
        )


def _check_not_protocol(key: str, where: str) -> None:
    if key.startswith(PROTOCOL):
        raise UserError(f"{where}.{key}: all trials must share it; set it under base")


def _check_conditions(drawn: Mapping[str, Distribution], keys: Mapping[str, Any]) -> None:
    """Whether every `when` names a setting, and a value that it can have."""
    before: dict[str, Distribution] = {}
    for key, distribution in drawn.items():
        for parent, value in distribution.when.items():
            check_key(parent, keys, f"params.{key}: when")
            if parent not in drawn:
                _check_kind(parent, value, f"params.{key}: when")
            if parent in drawn and parent not in before:
                raise UserError(f"params.{key}: when.{parent} must be listed before {key}")
            if parent in drawn and drawn[parent].is_continuous:
                raise UserError(
                    f"params.{key}: when.{parent} must be a parameter of single values (a choice, "
                    f"an int, a pow2), not {drawn[parent]}"
                )
            if parent in drawn and not drawn[parent].can_be(value):
                raise UserError(
                    f"params.{key}: when.{parent} must be one of its values ({drawn[parent]}), "
                    f"got {value!r}"
                )
        before[key] = distribution


def _check_choices(params: Mapping[str, Distribution]) -> None:
    """Whether a trial's log and trials.csv will name each value as the config holds it."""
    for key, distribution in params.items():
        for value in distribution.values if distribution.kind == "choice" else ():
            _check_kind(key, value, "params")


def _check_kind(key: str, value: Any, source: str) -> None:
    kept = as_setting(key, value, source)
    if kept != value:  # text in place of a number, or of true
        raise UserError(f"{source}: {key} must be {json.dumps(kept)}, got {value!r}")


def check_moved(space: Space, key: str, value: float) -> None:
    """As `check`, for a space that differs from a checked one in a bound of `key` alone.

    Args:
        space: the space.
        key: the parameter whose bound was moved.
        value: where it lies now.

    Raises:
        UserError: what the training config or the budget has against it.
    """
    for arm in space.arms:
        params = space.arm_params(arm)
        if key not in params:
            continue
        is_highest = _highest(params).get(key) == value  # and so part of the others' corners
        corners = [{**conditions(key, params), key: value}]
        for other in params if is_highest else [key]:
            corners += _among_the_highest(params, other)
        for corner in corners:
            override(space.arm_config(arm), corner, "params")
    _check_budget(space)


def _highest(params: Mapping[str, Distribution]) -> dict[str, Any]:
    """All numbers that are always drawn, at their upper ends together."""
    return {key: max(d.values) for key, d in params.items() if d.kind != "choice" and not d.when}


def _corners(params: Mapping[str, Distribution], key: str) -> Iterator[dict[str, Any]]:
    """A parameter at its ends (a choice: at each value), the others as in the base; and likewise
    with the others at their upper ends.
    """
    distribution, given = params[key], conditions(key, params)
    yield from ({**given, key: value} for value in distribution.values)
    yield from _among_the_highest(params, key)
    if distribution.kind in ("uniform", "loguniform"):  # whole numbers are drawn with int
        low, high = distribution.values
        yield {**given, key: low + (high - low) * 0.381966}  # no simple fraction: never whole


def _among_the_highest(params: Mapping[str, Distribution], key: str) -> Iterator[dict[str, Any]]:
    """A parameter at its ends, or at each value, the others at their upper ends."""
    given = {**_highest(params), **conditions(key, params)}
    yield from ({**given, key: value} for value in params[key].values)


def conditions(key: str, params: Mapping[str, Distribution]) -> dict[str, Any]:
    """What must hold for a parameter to be drawn, with what must hold for that."""
    given: dict[str, Any] = {}
    for parent, value in params[key].when.items():
        if parent in params:
            given |= {**conditions(parent, params), parent: value}
    return given


def _check_device(space: Space) -> None:
    """Whether trials compute where Ray reserves something for them."""
    gpu, device = space.resources.gpu, space.config.run.device
    if gpu == 0 and device == "cuda":
        raise UserError(
            "resources.gpu must be more than 0 where run.device is cuda, or all trials would crowd "
            "onto one GPU that none has reserved, got 0; give each a share (--gpus-per-trial "
            "auto), or train on the CPU (--set run.device=auto)"
        )
    if gpu not in (0, "auto") and device == "cpu":
        raise UserError(
            f"resources.gpu must be 0 where run.device is cpu, or a GPU would be reserved for "
            f"nothing, got {gpu:g}; train on it (--set run.device=auto), or on the CPU "
            f"(--gpus-per-trial 0)"
        )
    if gpu != "auto" and gpu > 1:
        raise UserError(
            f"resources.gpu must be at most 1, since a trial trains on one GPU, got {gpu:g}; "
            f"--gpus-per-trial 1 gives it one of its own"
        )


def _check_budget(space: Space) -> None:
    budget, epochs = space.budget, space.config.run.epochs
    if space.sampler == "points" and not any(space.points.values()):
        raise UserError("sampler: points needs points (--points FILE), got none")
    limits = (budget.total_epochs, budget.trials, budget.time)
    if limits == (None, None, None) and space.sampler != "points":
        raise UserError("budget must give total_epochs, trials or time")
    if budget.total_epochs is not None and budget.total_epochs < epochs:
        raise UserError(
            f"budget.total_epochs must be at least run.epochs ({epochs}), the length of one trial; "
            f"got {budget.total_epochs}"
        )
    if (asha := space.scheduler.asha) is None:
        return
    grace = space.grace
    if grace > epochs:
        raise UserError(f"scheduler.asha.grace must be at most run.epochs ({epochs}), got {grace}")
    if asha.promotion:
        return  # whom its warm-up has held back may still go on
    for arm in space.arms:
        drawn = space.arm_params(arm).get("optim.warmup")
        warmup = max(drawn.values) if drawn else space.arm_config(arm).optim.warmup
        if grace < warmup * epochs:
            raise UserError(
                f"scheduler.asha.grace must not be shorter than the warm-up (optim.warmup "
                f"{warmup:g} of {epochs} epochs): trials that still warm up say little; "
                f"got {grace}, set it to {math.ceil(warmup * epochs)} or more"
            )
