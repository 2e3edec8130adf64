"""From YAML to validated models, with errors that a person can act on."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

TAGS = ("drawn", "fixed", "text", "amount")  # of unions: pydantic makes them part of a place
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises for text that is not YAML, or not a value that it makes (a 13th month)."""

M = TypeVar("M", bound=BaseModel)


class UserError(Exception):
    """Something the user can put right: the message names key, rule, value and the way out."""


class Section(BaseModel):
    """A part of a config: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


DOCUMENTED = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)
"""Of pydantic dataclasses: values that are checked, and whose docstrings are part of a schema."""


def parse(model: type[M], tree: Any, source: str) -> M:
    """Validate a tree of plain values as a model.

    Args:
        model: a pydantic model.
        tree: what YAML gave.
        source: what the tree came from; opens every line of the message.

    Raises:
        UserError: all that is wrong with the tree, a line each.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise UserError("\n".join(f"{source}: {line}" for line in lines)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: there is no such file, it is not YAML, or not a mapping.
    """
    try:
        tree = _load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")])
        raise UserError(f"{path}: there is no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except NOT_YAML as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: must hold sections such as 'data:', got {tree!r:.60}")
    return tree


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `dotted.key=value` as given to --set; the value is read as YAML.

    Raises:
        UserError: it does not look like that, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(
            f"--set {text}: must look like dotted.key=value, for example optim.warmup=0.1"
        )
    try:
        return key.strip(), _load(value)
    except NOT_YAML as error:
        raise UserError(f"--set {text}: the value is not YAML: {one_line(error)}") from None


def check_key(key: str, known: Iterable[str], source: str) -> None:
    """Refuse a key that there is not.

    Args:
        key: what was asked for.
        known: the keys that there are.
        source: what the key came from; opens the message.

    Raises:
        UserError: `key` is not one of `known`; it names the nearest that is.
    """
    known = list(known)
    if key not in known:
        raise UserError(f"{source}: unknown key '{key}'{nearest(key, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the most similar known name, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{match[0]}'?" if match else ""


def one_line(error: BaseException) -> str:
    """An error's message in at most 300 characters without line breaks; its type if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def show_error(error: UserError, *, with_trace: bool = False) -> None:
    """Print each line of the message on stderr as `error: ...`, after the stack trace if asked."""
    if with_trace:
        traceback.print_exception(error)
    for line in str(error).splitlines():
        print(f"error: {line}", file=sys.stderr)


def _explain(model: type[BaseModel], problem: Any) -> str:
    path = [str(part) for part in problem["loc"] if part not in TAGS]
    key = ".".join(path)
    match problem["type"]:
        case "extra_forbidden":
            if key in _known_keys(model):  # `run.epochs: 5` instead of `run: {epochs: 5}`
                return f"{key} must be nested: {path[0].replace('.', ': {')}: ...}}"
            return f"unknown key '{key}'{nearest(key, _known_keys(model))}"
        case "missing":
            return f"{key} is missing"
        case "value_error":
            text = str(problem["ctx"]["error"])
            return f"{key}: {text}" if key else text
        case kind if kind == "invalid_key" or path[-1:] == ["[key]"]:
            name = ".".join(path).removesuffix(".[key]")
            return f"{name} must be text, but YAML reads it as {problem['input']!r}; quote it"
        case "model_type" | "dict_type":
            return f"{key} must be a section with keys of its own, got {problem['input']!r}"
        case _ if problem["msg"].startswith("Input should be "):
            rule = problem["msg"].removeprefix("Input should be ")
            return f"{key} must be {rule}, got {problem['input']!r}"
        case _:
            return f"{key}: {problem['msg']}, got {problem['input']!r}"


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _known_keys(field.annotation, f"{prefix}{name}.")
    return keys


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML would drop the first one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"key '{key}' stands twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def _load(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
