"""YAML as people mean it: what a scalar is follows the core schema of version 1.2, chapter 10.3.

`1e-5` is a number, `12:00` and `on` are text, `010` is 10. PyYAML itself follows version 1.1, where
they are text, 720, true and 8. Keys are always text. What is written here reads the same in both.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import yaml

DEEPEST = 40
"""Sections and lists inside of each other; more is no config, or an alias of itself."""
MOST_VALUES = 1_000_000
"""Aliases counted each time: a page of them can stand for more than any memory holds."""
LONGEST_NUMBER = 300  # characters; no setting goes beyond 1e308
UNFIT = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: of control, half a character, line breaks

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": re.compile(r"^(?:null|Null|NULL|~|)$"),
    "bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "int": re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"),
    "float": re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    "merge": re.compile(r"^<<$"),  # of 1.1, and widely used
}
_FIRST = {"null": ["n", "N", "~", ""], "bool": list("tTfF"), "merge": ["<"]}


class NotYaml(ValueError):
    """The text is not YAML, or none that a config can be; says why in one line."""


def read(text: str) -> Any:
    """The value of a YAML document: mappings with keys of text, lists, text, numbers, true, null.

    Raises:
        NotYaml: it is none, a key stands twice, or it is deeper or larger than any config.
    """
    try:
        tree = yaml.load(text, _Loader)  # noqa: S506 - it makes plain values alone
        _check(tree, DEEPEST, [MOST_VALUES])
    except RecursionError:
        raise NotYaml(f"sections lie more than {DEEPEST} deep in each other") from None
    except (yaml.YAMLError, ValueError) as error:
        said = str(error).replace('in "<unicode string>", ', "in ")
        raise NotYaml(" ".join(said.split())[:300]) from None
    return tree


def write(tree: Any) -> str:
    """A tree of plain values as YAML; `read` gives it back, and so does a reader of version 1.1."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def is_fit(text: str) -> bool:
    """Whether text can stand in a line and in a file: no control characters, all of it Unicode."""
    return not any(unicodedata.category(character) in UNFIT for character in text)


def _check(tree: Any, depth: int, left: list[int]) -> None:
    """`left`: how many more values there may be."""
    left[0] -= 1
    if left[0] < 0:
        raise NotYaml(f"holds more than {MOST_VALUES:,} values")
    if depth < 0:
        raise NotYaml(f"sections lie more than {DEEPEST} deep in each other")
    if isinstance(tree, str) and not is_fit(tree):
        raise NotYaml(f"text must be characters without line breaks, got {tree!a:.60}")
    if isinstance(tree, dict):
        for key, value in tree.items():
            _check(key, depth - 1, left)
            _check(value, depth - 1, left)
    if isinstance(tree, list):
        for value in tree:
            _check(value, depth - 1, left)


class _Loader(yaml.SafeLoader):
    """Makes the values of the core schema, whatever tags a document asks for."""

    yaml_implicit_resolvers = {}
    yaml_constructors = {
        None: yaml.SafeLoader.construct_undefined,
        _TAG + "seq": yaml.SafeLoader.construct_yaml_seq,
        _TAG + "map": yaml.SafeLoader.construct_yaml_map,
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a key that stands twice; YAML would drop the first one without a word."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise NotYaml(f"a key must be text{key.start_mark}")
            if key.value in seen:
                raise NotYaml(f"key {key.value!r:.60} stands twice{node.start_mark}")
            seen.add(key.value)
            if key.tag != _TAG + "merge":
                key.tag = _TAG + "str"
        return super().construct_mapping(node, deep)

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """The value of a scalar that has a tag of the core schema."""
        text = self.construct_scalar(node)
        kind = node.tag.removeprefix(_TAG)
        if kind != "str" and not _SCALARS[kind].match(text):  # `!!int x`
            raise NotYaml(f"{text!r:.60} is no {kind}{node.start_mark}")
        if kind in ("int", "float") and len(text) > LONGEST_NUMBER:
            raise NotYaml(f"a number of {len(text):,} characters{node.start_mark}")
        return _VALUES[kind](text)


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version of YAML would take for something else."""


def _as_int(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_VALUES: dict[str, Any] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _as_int,
    "float": lambda text: float(re.sub(r"^([-+]?)\.(?=[in])", r"\1", text.lower())),
}
for _kind, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, _pattern, _FIRST.get(_kind, list("-+.0123456789")))
    _Dumper.add_implicit_resolver(_TAG + _kind, _pattern, _FIRST.get(_kind, list("-+.0123456789")))
for _kind in _VALUES:
    _Loader.add_constructor(_TAG + _kind, _Loader.scalar)
