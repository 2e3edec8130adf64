"""From YAML to validated models, with errors that a person can act on."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from supcon.plain_yaml import NotYaml, is_fit, read

TAGS = ("drawn", "fixed", "text", "amount")  # of unions: pydantic makes them part of a place
LONGEST = 1000
"""Characters of a line that is shown: a value may be as long as a file."""
LARGEST = 50_000_000
"""Bytes of a file that is read as YAML; `/dev/zero` has no end."""

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
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{path}: is larger than {LARGEST // 10**6} MB, so no config")
        tree = read(content.decode("utf-8"))
    except FileNotFoundError:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")])
        raise UserError(f"{path}: there is no such file{near}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read: must be text in UTF-8, but {error}") from None
    except NotYaml as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in its name
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: must hold sections such as 'data:', got {tree!r:.60}")
    return tree


def is_there(path: Path) -> bool:
    """Whether there is something at a path.

    Raises:
        UserError: nobody could say: its name is too long, or its folder may not be read.
    """
    try:
        return path.exists()
    except OSError as error:
        raise UserError(f"{path}: cannot be looked at ({error.strerror})") from None


def check_is_free(out: Path) -> None:
    """Whether something may be written at `--out`: nothing is overwritten.

    Raises:
        UserError: there is something.
    """
    if is_there(out):
        raise UserError(f"--out {out}: exists already; remove it or choose another name")


def parse_assignment(text: str, texts: Container[str]) -> tuple[str, Any]:
    """Split `dotted.key=value` as given to --set.

    Args:
        text: as it was typed.
        texts: keys whose value is text, such as a path: it is taken as it was typed, without the
            quotes if it stands in some. All other values are read as YAML.

    Raises:
        UserError: it does not look like that, or the value is not YAML.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    typed = " ".join(text.split())
    if not equals or not key:
        raise UserError(
            f"--set {typed}: must look like dotted.key=value, for example optim.warmup=0.1"
        )
    is_text = key in texts and value and value[0] not in "'\""
    if not is_fit(value if is_text else key):
        raise UserError(f"--set {typed!a:.{LONGEST}}: must be text without line breaks, in UTF-8")
    try:
        return key, value if is_text else read(value)
    except NotYaml as error:
        raise UserError(f"--set {typed:.{LONGEST}}: the value is not YAML: {error}") from None


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
    """Print each line of the message on stderr as `error: ...`, after the stack trace if asked.

    Control characters are escaped, and of a line that is too long the middle is left out.
    """
    if with_trace:
        traceback.print_exception(error)
    for line in str(error).splitlines():
        clean = "".join(c if is_fit(c) else ascii(c)[1:-1] for c in line)
        if len(clean) > LONGEST:
            clean = f"{clean[: LONGEST // 2]} ... {clean[-LONGEST // 2 :]}"
        print(f"error: {clean}", file=sys.stderr)


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
            return f"{name} must be text, got {problem['input']!r}"
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
