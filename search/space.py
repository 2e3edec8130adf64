"""A search space in YAML -> a validated Space; what a trial is, as a Config.

Every dotted key is checked against the training config, every range at its ends: a typo costs a
second. Nothing here imports ray, optuna or torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from search.distribution import Distribution
from supcon.config import UNUSED_KEYS, Config, flatten, is_used, override
from supcon.parsing import Section, UserError, check_key, nearest, parse, read_yaml
from supcon.seeds import derive_seed

Phase = Literal["search", "confirm"]

# What all trials share: drawing one of these would compare unlike with unlike.
PROTOCOL = (
    "data.name",
    "data.root",
    "data.val_size",
    "data.split_seed",
    "data.train_size",
    "data.image_size",
    "data.pipeline",
    "augment.views",
    "probe.",
    "run.",
)


class Budget(Section):
    """What each arm may spend; at least one of the two must be given."""

    total_epochs: int | None = Field(None, ge=1)
    """A new trial starts only while its arm has trained fewer epochs in all."""
    trials: int | None = Field(None, ge=1)
    """At most so many trials an arm."""


class Asha(Section):
    """Early stopping by successive halving, the stopping variant (arXiv:1810.05934)."""

    grace: int = Field(10, ge=1)
    """Epochs of the first rung; no trial is stopped before."""
    reduction: int = Field(3, ge=2)
    """About one in so many trials passes a rung; rungs are this factor apart."""


class Scheduler(Section):
    """What stops trials early."""

    asha: Asha = Asha()


class Confirm(Section):
    """Training the winners again, on seeds that did not pick them."""

    seeds: int = Field(3, ge=1)
    """Fresh seeds for each arm's winner."""


class Resources(Section):
    """What one trial takes, and how many run at once."""

    cpu: float = Field(1, gt=0)
    """CPU cores; torch gets as many threads."""
    gpu: float = Field(0, ge=0)
    """Share of a GPU (0.25: four trials on one), or a whole number."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at once; null: as many as the machine has room for."""


class Space(Section):
    """A whole search: the base config, what is drawn, the arms, and the rules."""

    name: str
    """Names the results folder; default: the name of the file."""
    seed: int = Field(0, ge=0)
    """All seeds of the study derive from it."""
    base: dict[str, Any] = {}
    """A training config: what all trials share."""
    params: dict[str, Distribution]
    """Dotted config key -> distribution."""
    arms: dict[str, dict[str, Any]] = {"supcon": {"loss.name": "supcon"}, "ce": {"loss.name": "ce"}}
    """Arm -> settings that make it; the arms share everything else."""
    budget: Budget
    scheduler: Scheduler = Scheduler()
    confirm: Confirm = Confirm()
    resources: Resources = Resources()

    @cached_property
    def config(self) -> Config:
        """The base config."""
        return parse(Config, self.base, "base")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared; the last is the full length."""
        epochs, rung, rungs = self.config.run.epochs, self.scheduler.asha.grace, []
        while rung < epochs:
            rungs.append(rung)
            rung *= self.scheduler.asha.reduction
        return (*rungs, epochs)

    def arm_config(self, arm: str) -> Config:
        """The config that an arm's trials start from."""
        changes = {**self.arms[arm], "run.eval_at": list(self.rungs)}
        if self.config.run.threads == 0:
            changes["run.threads"] = max(1, int(self.resources.cpu))
        if self.resources.gpu == 0 and self.config.run.device == "auto":
            changes["run.device"] = "cpu"  # a GPU that Ray was not asked for is not the trial's
        return override(self.config, changes, f"arms.{arm}")

    def arm_params(self, arm: str) -> dict[str, Distribution]:
        """The parameters drawn for an arm: those that have an effect in some trial of it."""
        config = self.arm_config(arm)
        switched = [
            override(config, {switch: value}, "params")
            for switch in UNUSED_KEYS.keys() & self.params.keys() - self.arms[arm].keys()
            for value in self.params[switch].values
        ]
        return {
            key: d
            for key, d in self.params.items()
            if key not in self.arms[arm] and any(is_used(key, c) for c in [config, *switched])
        }

    def with_base(self, changes: Mapping[str, Any]) -> Space:
        """The same space with some dotted keys of its base config changed."""
        tree = self.dump()
        for key, value in changes.items():
            section, name = key.split(".")
            tree["base"][section] = {**tree["base"].get(section, {}), name: value}
        return parse_space(tree, self.name)

    def trial_config(self, arm: str, params: Mapping[str, Any], seed: int) -> Config:
        """The complete config of one trial."""
        return override(self.arm_config(arm), {**params, "run.seed": seed}, f"trial of {arm}")

    def trial_seed(self, arm: str, phase: Phase, number: int) -> int:
        """The trial's own seed."""
        return derive_seed(self.seed, arm, phase, number)

    def dump(self) -> dict[str, Any]:
        """A tree that `parse_space` reads back."""
        tree = self.model_dump(mode="json")
        tree["params"] = {key: d.as_pair() for key, d in self.params.items()}
        return tree


def parse_space(tree: Mapping[str, Any], source: str) -> Space:
    """Validate a tree as a Space, and all of its keys and values against the training config.

    Raises:
        UserError: with a line for each thing that is wrong.
    """
    space = parse(Space, dict(tree), source)
    try:
        _check(space)
    except UserError as error:
        lines = (f"{source}: {line}" for line in str(error).splitlines())
        raise UserError("\n".join(lines)) from None
    return space


def _check(space: Space) -> None:
    if not is_plain_name(space.name):
        raise UserError(
            f"name must be letters, digits, '.', '_' and '-', got '{space.name}'; set it with "
            f"--set name=..."
        )
    keys = flatten(space.config)
    for own in ("seed", "eval_at"):
        if own in space.base.get("run", {}):
            raise UserError(
                f"base.run.{own}: a search sets it itself; the seed of the study is 'seed' "
                f"(--seed), the rungs are under scheduler"
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
        for corner in _corners(space.arm_params(arm)):
            override(space.arm_config(arm), corner, "params")
    _check_budget(space)


def _check_not_protocol(key: str, where: str) -> None:
    if key.startswith(PROTOCOL):
        raise UserError(f"{where}.{key}: all trials must share it; set it under base")


def _corners(params: Mapping[str, Distribution]) -> Iterator[dict[str, Any]]:
    """Each parameter in turn at its ends (a choice: at each value), the others as in the base; and
    likewise with all numbers at their upper ends together.
    """
    highest = {key: max(d.values) for key, d in params.items() if d.kind != "choice"}
    yield highest
    for key, distribution in params.items():
        for value in distribution.values:
            yield {key: value}
            yield {**highest, key: value}
        if distribution.kind in ("uniform", "loguniform"):  # whole numbers are drawn with int
            low, high = distribution.values
            yield {key: low + (high - low) * 0.381966}  # no simple fraction: never whole


def _check_budget(space: Space) -> None:
    budget, epochs, grace = space.budget, space.config.run.epochs, space.scheduler.asha.grace
    if budget.total_epochs is None and budget.trials is None:
        raise UserError("budget must give total_epochs, trials, or both")
    if budget.total_epochs is not None and budget.total_epochs < epochs:
        raise UserError(
            f"budget.total_epochs must be at least run.epochs ({epochs}), the length of one trial; "
            f"got {budget.total_epochs}"
        )
    if grace > epochs:
        raise UserError(f"scheduler.asha.grace must be at most run.epochs ({epochs}), got {grace}")


def load_space(path: Path, changes: Mapping[str, Any]) -> Space:
    """Read a space file and apply --set style changes.

    Args:
        path: the YAML file.
        changes: dotted key -> value, of the base config (`optim.warmup`) or of the space
            (`budget.trials`, `params.loss.temperature`). A base setting that the space would draw
            is fixed at that value instead.
    """
    tree = read_yaml(path)
    for key, value in changes.items():
        _apply(tree, key, value)
    tree.setdefault("name", path.stem)
    return parse_space(tree, str(path))


def _apply(tree: dict[str, Any], key: str, value: Any) -> None:
    parts = key.removeprefix("base.").split(".")
    key = ".".join(parts)
    if parts[0] in Config.model_fields:
        params = tree.get("params")
        if isinstance(params, dict):
            params.pop(key, None)
        parts = ["base", *parts]
    elif parts[0] not in Space.model_fields:
        known = [*Config.model_fields, *Space.model_fields]
        raise UserError(f"--set {key}: unknown section '{parts[0]}'{nearest(parts[0], known)}")
    if parts[0] in ("params", "arms"):  # their keys are dotted config keys
        depth = 1 if parts[0] == "params" else 2
        parts = [*parts[:depth], ".".join(parts[depth:])]
    node = tree
    for part in parts[:-1]:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise UserError(f"--set {key}: '{part}' holds {node!r}, not a section")
    node[parts[-1]] = value


def is_plain_name(name: str) -> bool:
    """Whether a study's name is a name of a folder that stays inside the results folder."""
    return name.strip(".") != "" and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
