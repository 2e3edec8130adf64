"""YAML as people mean it: kinds of scalars, what is refused, and what is written."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from supcon.plain_yaml import NotYaml, is_fit, read, write

SCALARS = [  # what the core schema of YAML 1.2 says, with the kind
    ("1e-5", 1e-5),
    ("+1E5", 1e5),
    ("1.5e3", 1500.0),
    (".5", 0.5),
    ("5.", 5.0),
    (".inf", math.inf),
    ("-.Inf", -math.inf),
    ("12", 12),
    ("-3", -3),
    ("010", 10),
    ("0o17", 15),
    ("0x1F", 31),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("12:00", "12:00"),
    ("1:30:00", "1:30:00"),
    ("yes", "yes"),
    ("off", "off"),
    ("1_000", "1_000"),
    ("2026-01-31", "2026-01-31"),
    ("1e", "1e"),
    ("e5", "e5"),
    ("0b11", "0b11"),
    ("'1e-5'", "1e-5"),
    ("=", "="),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_scalar_is_what_the_core_schema_says(text: str, value: Any) -> None:
    for tree, found in ((text, lambda x: x), (f"a: {text}", lambda x: x["a"])):
        kept = found(read(tree))
        assert (kept, type(kept)) == (value, type(value))


def test_not_a_number_is_read() -> None:
    assert math.isnan(read(".nan"))


def test_keys_are_text_as_they_are_typed() -> None:
    assert read("{1: a, on: b, null: c, 1e-5: d}") == {
        "1": "a",
        "on": "b",
        "null": "c",
        "1e-5": "d",
    }


def test_anchors_and_merges_are_read() -> None:
    assert read("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 3, "c": 2},
    }


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{a: 1, a: 2}", "key 'a' stands twice"),
        ("{1: 1, '1': 2}", "key '1' stands twice"),
        ("{[1]: 2}", "a key must be text"),
        ("a: &a [*a]", "more than 40 deep"),
        ("[" * 60 + "]" * 60, "more than 40 deep"),
        ("[" * 5000 + "]" * 5000, "more than 40 deep"),
        (LAUGHS, "holds more than 1,000,000 values"),
        ("9" * 5000, "a number of 5,000 characters"),
        ("0x" + "f" * 5000, "a number of 5,002 characters"),
        ("!!int x", "'x' is no int"),
        ("!!bool yes", "'yes' is no bool"),
        ("!!map [1]", "expected a mapping node"),
        ("!!binary aGk=", "could not determine a constructor"),
        ("!!set {a}", "could not determine a constructor"),
        ("!!python/name:os.system x", "could not determine a constructor"),
        ('"\\ud800"', "characters without line breaks"),
        ('{"a\\nb": 1}', "characters without line breaks"),
        ("a: |\n  x\n  y\n", "characters without line breaks"),
        ('"\\e[31m"', "characters without line breaks"),
        ("--- 1\n--- 2", "expected a single document"),
        ("a:\n\tb: 1", "cannot start any token"),
        ("a: \x00", "special characters are not allowed"),
        ("*a", "undefined alias"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(NotYaml) as error:
        read(text)
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) <= 300


TEXT = st.one_of(
    st.sampled_from([text for text, _ in SCALARS]),
    st.sampled_from(["y", "No", "<<", "190:20:30", "#", "a #b", "- a", "a: b", "*a", "'", "中文"]),
    st.text().filter(is_fit),
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal, 1 and 1.0 and true told apart."""
    return repr(a) == repr(b)


@given(TREES)
def test_what_is_written_is_read_back_by_both_versions(tree: Any) -> None:
    assert same(read(write({"a": tree})), {"a": tree})
    assert same(yaml.safe_load(write({"a": tree})), {"a": tree})


@pytest.mark.parametrize(
    ("text", "fits"),
    [("a b", True), ("名前", True), ("می‌خواهم", True), ("a\tb", False), ("a\nb", False),
     ("\x1b[31m", False), ("\ud800", False), ("a\u2028b", False), ("\x85", False)],
)  # fmt: skip
def test_text_that_would_break_a_line_or_a_file_is_unfit(text: str, fits: bool) -> None:
    assert is_fit(text) == fits
