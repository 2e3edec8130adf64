"""The list of other repositories' bugs in README.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if line.startswith("| ") and not line.startswith(("| # |", "| Where |"))
]


def names_of_tests(file: Path) -> set[str]:
    """`test_x.py::test_y` of every test in the file."""
    functions = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    names = [node.name for node in functions if isinstance(node, ast.FunctionDef)]
    return {f"{file.name}::{name}" for name in names if name.startswith("test_")}


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"test_\w+\.py::test_\w+", README))
    existing = set[str]().union(*(names_of_tests(file) for file in FOLDER.rglob("test_*.py")))
    assert named
    assert sorted(named - existing) == []


def test_every_test_that_starts_first_exists() -> None:
    text = (FOLDER / "conftest.py").read_text(encoding="utf-8")
    named = set(re.findall(r'^    "(test_\w+)",$', text, re.M))
    existing = [name for file in FOLDER.rglob("test_*.py") for name in names_of_tests(file)]
    assert named
    assert named - {name.partition("::")[2] for name in existing} == set()


def test_every_bug_has_its_row() -> None:
    expected = [f"S{i}" for i in range(1, 21)] + [f"H{i}" for i in range(1, 10)]
    assert [row[0] for row in ROWS][: len(expected)] == expected
    assert len(ROWS) > len(expected)


def test_every_row_says_what_went_wrong_and_names_a_test() -> None:
    for number, wrong, tests in ROWS:
        assert wrong, number
        assert re.search(r"`test_\w+\.py::test_\w+`", tests), number
