"""YAML -> a validated Space; the same space with something changed.

Every dotted key is checked against the training config, every range at its ends: a typo costs a
second. Nothing here imports ray, optuna or torch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search.space.checks import check
from search.space.space import Space
from supcon.config import TEXT_KEYS as SETTINGS
from supcon.config import Config
from supcon.parsing import UserError, nearest, parse, read_yaml

TEXT_KEYS = frozenset(["name", "baseline", *SETTINGS, *(f"base.{key}" for key in SETTINGS)])
"""Keys of --set whose value is any text."""


def parse_space(tree: Mapping[str, Any], source: str) -> Space:
    """Validate a tree as a Space, and all of its keys and values against the training config.

    Raises:
        UserError: with a line for each thing that is wrong.
    """
    space = parse(Space, dict(tree), source)
    try:
        check(space)
    except UserError as error:
        lines = (f"{source}: {line}" for line in str(error).splitlines())
        raise UserError("\n".join(lines)) from None
    return space


def read_space(tree: Mapping[str, Any], source: str) -> Space:
    """A space that was checked before, as a log has it."""
    return parse(Space, of_log(tree), source)


def of_log(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A space as a log has it: in older ones no trial could pause."""
    found = copy.deepcopy(dict(tree))
    match found.get("scheduler"):
        case {"asha": dict(asha)}:
            asha.setdefault("promotion", False)
    return found


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


def with_settings(space: Space, changes: Mapping[str, Any]) -> Space:
    """The same space with --set style changes, as `load_space` makes them."""
    tree = copy.deepcopy(space.dump())
    for key, value in changes.items():
        _apply(tree, key, value)
    return parse_space(tree, space.name)


def with_base(space: Space, changes: Mapping[str, Any]) -> Space:
    """The same space with some dotted keys of its base config changed."""
    tree = space.dump()
    for key, value in changes.items():
        section, name = key.split(".")
        tree["base"][section] = {**tree["base"].get(section, {}), name: value}
    return parse_space(tree, space.name)


def with_resources(space: Space, changes: Mapping[str, Any], source: str) -> Space:
    """The same space with some of its resources changed; `source` is named in errors."""
    resources = {**space.resources.model_dump(), **changes}
    return parse_space(space.dump() | {"resources": resources}, source)


def _apply(tree: dict[str, Any], key: str, value: Any) -> None:
    parts = key.removeprefix("base.").split(".")
    key = ".".join(parts)
    if parts[0] in Config.model_fields:
        for drawn in (tree.get("params"), *_points(tree)):
            if isinstance(drawn, dict):
                drawn.pop(key, None)
        parts = ["base", *parts]
    elif parts[0] not in Space.model_fields:
        known = [*Config.model_fields, *Space.model_fields]
        raise UserError(f"--set {key}: unknown section '{parts[0]}'{nearest(parts[0], known)}")
    if parts[0] in ("params", "arms"):  # their keys are dotted config keys
        depth = 1 if parts[0] == "params" else 2
        parts = [*parts[:depth], *filter(None, [".".join(parts[depth:])])]
    node = tree
    for part in parts[:-1]:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise UserError(f"--set {key}: '{part}' holds {node!r}, not a section")
    node[parts[-1]] = value


def _points(tree: Mapping[str, Any]) -> Iterator[Any]:
    points = tree.get("points")
    for some in points.values() if isinstance(points, dict) else ():
        yield from some if isinstance(some, list) else ()
