"""Whatever a space or a command line holds, a search starts or says in a line what is wrong."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from search.preflight import image_audit
from search.space.space import Space
from supcon import step_memory
from supcon.config import Config, flatten
from supcon.images.split import Splits
from supcon.plain_yaml import NotYaml, read, write
from tests.commands.bad_input import (
    TREES,
    command_lines,
    costs_at_once,
    ending,
    once_each,
    texts,
    trees,
)

LONGEST = 1100  # characters of a line
KEYS = re.compile("|".join(map(re.escape, [*flatten(Config()), *Space.model_fields])))
SECONDS = 60  # more is a search that hangs
DRAWN = settings(
    database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
FEW, MANY = settings(DRAWN, max_examples=134), settings(DRAWN, max_examples=300)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a search finds the small spaces; costs are not measured, and no test hangs."""
    for name, tree in TREES.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.run.measure", costs_at_once)
    for module, name in ((image_audit, "look_over"), (step_memory, "step_bytes")):
        monkeypatch.setattr(module, name, once_each(getattr(module, name)))
    monkeypatch.setattr("supcon.auto_settings.cpu_has_bf16", lambda: False)  # and no probe of it
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # model.weights: timm

    def hangs(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    yield tmp_path
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def without_networks(monkeypatch: pytest.MonkeyPatch, digits: Splits) -> None:
    """Images are loaded once, and no network is built."""
    monkeypatch.setattr("search.preflight.checks.load_checked_data", lambda space: digits)


def dry_run(*arguments: str) -> list[str]:
    """What is wrong, a line each; nothing if nothing is."""
    signal.alarm(SECONDS)
    code, text = ending(["--dry-run", *arguments])
    lines = text.splitlines()
    assert code in (0, 2), text
    assert (code == 2) == bool(lines), text
    if text.startswith("usage: "):  # of argparse, which names the flag
        assert "search/run.py: error: " in lines[-1]
        return lines[-1:]
    for line in lines:
        assert line.startswith("error: "), text
        assert len(line) < LONGEST
    return lines


def check_tree(tree: Any) -> None:
    Path("x.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    for line in dry_run("--space", "x.yaml"):
        assert KEYS.search(line) or "unknown key" in line or "not valid YAML" in line, line


def check_command_line(arguments: list[str]) -> None:
    for line in dry_run("--space", "digits.yaml", *arguments):
        of_a_file = any(line.startswith(f"error: {path}: ") for path in arguments)
        named = KEYS.search(line) or "--" in line or "unknown key" in line or of_a_file
        assert named or "must be text in UTF-8" in line, line


def check_file(content: bytes) -> None:
    Path("x.yaml").write_bytes(content)
    for line in dry_run("--space", "x.yaml", "--set", "data.name=digits"):
        assert KEYS.search(line) or "x.yaml: " in line, line


@pytest.mark.slow
@FEW
@given(drawn=trees())
def test_a_changed_space_is_taken_or_refused(
    folder: Path, without_networks: None, drawn: Any
) -> None:
    check_tree(drawn[0])


@pytest.mark.slow
@FEW
@given(arguments=command_lines)
def test_any_command_line_is_taken_or_refused(
    folder: Path, without_networks: None, arguments: list[str]
) -> None:
    check_command_line(arguments)


@pytest.mark.slow
@FEW
@given(content=texts())
def test_a_damaged_file_is_taken_or_refused(
    folder: Path, without_networks: None, content: bytes
) -> None:
    check_file(content)


@pytest.mark.slow
@MANY
@given(drawn=trees())
def test_a_changed_space_is_taken_or_refused_with_its_networks(folder: Path, drawn: Any) -> None:
    check_tree(drawn[0])


@pytest.mark.slow
@MANY
@given(arguments=command_lines)
def test_any_command_line_is_taken_or_refused_with_its_networks(
    folder: Path, arguments: list[str]
) -> None:
    check_command_line(arguments)


FOUND: dict[str, tuple[dict[str, Any], str]] = {  # what once ended in a trace, or never
    "a range beyond all numbers": (
        {"params": {"loss.temperature": {"loguniform": [0.1, 10**250 * 10**100]}}},
        "a number of 351 characters",
    ),
    "text in place of a number": (
        {"params": {"optim.weight_decay": {"choice": ["1e-5", "1e-4"]}}},
        "optim.weight_decay must be 1e-05, got '1e-5'",
    ),
    "shares that fit for ever": (
        {"resources": {"cpu": 5e-324}},
        "resources.cpu must be greater than or equal to 0.01",
    ),
    "a trial longer than any life": (
        {"base": {"run": {"epochs": 10**12}}},
        "run.epochs must be less than or equal to 1000000",
    ),
    "images beyond any memory": (
        {"base": {"data": {"image_size": 10**6}}},
        "data.image_size must be less than or equal to 4096",
    ),
    "a layer beyond any memory": (
        {"base": {"model": {"head_dim": 10**12}}},
        "model.head_dim must be less than or equal to 65536",
    ),
    "a name longer than a file may have": ({"name": "x" * 300}, "name must be letters"),
    "a root longer than a path may be": (
        {
            "base": {
                "data": {"name": "folder", "root": "/" + "x" * 5000, "image_size": 16},
                "run": {"epochs": 20},
            }
        },
        "data.root: ",
    ),
    "a time of a clock": ({"budget": {"time": "12:00"}}, "budget.time: 12:00 may be hours"),
    "a condition of another kind": (
        {"params": {"optim.momentum": {"int": [0, 1], "when": {"run.compile": "no"}}}},
        "run.compile must be false, got 'no'",
    ),
    "a value as long as a book": ({"scheduler": "x" * 10**5}, "scheduler: must be auto, none"),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found_stays_refused(folder: Path, case: str) -> None:
    changes, message = FOUND[case]
    Path("x.yaml").write_text(write(TREES["digits"] | {"points": {}} | changes), encoding="utf-8")
    (line,) = dry_run("--space", "x.yaml")
    assert message in line


DIGITS = yaml.safe_dump(TREES["digits"])
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "must hold sections"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\x00", "must be text in UTF-8"),
    "utf-16": (DIGITS.encode("utf-16"), "must be text in UTF-8"),
    "latin-1": ("name: é\n".encode("latin-1"), "must be text in UTF-8"),
    "with a mark of its encoding": (DIGITS.encode("utf-8-sig"), ""),
    "null bytes": (b"name: \x00x", "special characters are not allowed"),
    "tabs": (b"base:\n\trun: {}", "cannot start any token"),
    "a key twice": (DIGITS.encode() + b"name: y\n", "key 'name' stands twice"),
    "an alias of itself": (b"base: &a {data: *a}", "more than 40 deep"),
    "a bomb of aliases": (
        b"a0: &a0 [x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b"*a%d, " % (i - 1) * 10) for i in range(1, 12)),
        "holds more than 1,000,000 values",
    ),
    "deep": (b"[" * 1500, "not valid YAML"),
    "bytes": (b"name: !!binary aGk=", "could not determine a constructor"),
    "a set": (b"params: {optim.name: {choice: !!set {sgd, lamb}}}", "could not determine"),
    "half a character": (b'name: "\\ud800"', "must be characters without line breaks"),
    "a line break in a key": (b'"a\\nb": 1', "must be characters without line breaks"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_space_is_refused_and_named(folder: Path, case: str) -> None:
    content, message = FILES[case]
    Path("x.yaml").write_bytes(content)
    lines = dry_run("--space", "x.yaml")
    assert len(lines) == bool(message)
    assert all("x.yaml: " in line and message in line for line in lines)


def test_what_is_no_file_is_refused_and_named(folder: Path) -> None:
    for place in (folder, folder / "none.yaml", Path("/dev/zero"), folder / ("x" * 300)):
        (line,) = dry_run("--space", str(place))
        assert str(place) in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused_and_named(folder: Path) -> None:
    (folder / "digits.yaml").chmod(0)
    (line,) = dry_run("--space", "digits.yaml")
    assert "digits.yaml: cannot be read" in line
    (folder / "shut").mkdir(mode=0)
    (line,) = dry_run("--space", "aa.yaml", "--results", "shut")
    assert "argument --results: shut: Permission denied" in line


def test_most_that_is_drawn_is_yaml_and_some_of_it_is_none() -> None:
    """Else the tests above would look at one kind of fault alone."""
    seen = []

    @settings(FEW, max_examples=100)
    @given(content=texts())
    def look(content: bytes) -> None:
        try:
            seen.append(read(content.decode()) is not None)
        except (NotYaml, UnicodeDecodeError):
            seen.append(False)

    look()
    assert 0.05 < sum(seen) / len(seen) < 0.95
