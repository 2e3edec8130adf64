"""From YAML to models, and what a person is told about a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from supcon.parsing import (
    Section,
    UserError,
    check_key,
    nearest,
    one_line,
    parse,
    parse_assignment,
    read_yaml,
    show_error,
)


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "cifar10.yaml").write_text("")
    with pytest.raises(UserError) as error:
        read_yaml(tmp_path / "cifar.yaml")
    assert (
        str(error.value)
        == f"{tmp_path}/cifar.yaml: there is no such file; did you mean 'cifar10.yaml'?"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"run: {epochs: 3", "not valid YAML"),
        (b"run:\n\tepochs: 3", "not valid YAML"),
        (b"run: {seed: !!timestamp 2026-13-01}", "not valid YAML: could not determine a"),
        (b"run: {seed: 1, epochs: 3, seed: 2}", "not valid YAML: key 'seed' stands twice"),
        (b"run: {}\nrun: {seed: 1}", "not valid YAML: key 'run' stands twice"),
        (b"[" * 5000, "not valid YAML"),
        (b"", "must hold sections such as 'data:', got None"),
        (b"- run", "must hold sections such as 'data:', got ['run']"),
        (b"epochs", "must hold sections such as 'data:', got 'epochs'"),
        (b"run: \xff\xfe", "cannot be read: must be text in UTF-8"),
        ("run: {}".encode("utf-16"), "cannot be read: must be text in UTF-8"),
        (b"run: \x00", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_is_refused_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: {message}")


@pytest.mark.parametrize("text", ["data.root=/x\n/y", "data.root=/\udcff", "a\nb=1", "a=[\n"])
def test_what_breaks_a_line_or_is_no_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_assignment(text, ["data.root"])
    (line,) = str(error.value).splitlines()
    assert line.encode().startswith(b"--set ")


def test_a_value_may_be_written_over_several_lines() -> None:
    assert parse_assignment("a={\n  b: 1,\n}", []) == ("a", {"b": 1})


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(UserError, match="/dev/zero: is larger than 50 MB"):
        read_yaml(Path("/dev/zero"))


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("run.epochs=50", ("run.epochs", 50)),
        ("loss.temperature=0.2", ("loss.temperature", 0.2)),
        ("model.backbone=resnet34", ("model.backbone", "resnet34")),
        ("augment.flip=null", ("augment.flip", None)),
        ("run.compile=true", ("run.compile", True)),
        ("probe.l2=[0.1, 0.01]", ("probe.l2", [0.1, 0.01])),
        ("loss.temperature=1e-2", ("loss.temperature", 0.01)),
        ("budget.time=12:00", ("budget.time", "12:00")),
    ],
)
def test_an_assignment_is_a_key_and_a_yaml_value(text: str, pair: tuple[str, Any]) -> None:
    assert parse_assignment(text, []) == pair


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (" /a=b", "/a=b"),
        ("/x/set #2", "/x/set #2"),
        ("2024", "2024"),
        ("on", "on"),
        ("~", "~"),
        ("/x: y", "/x: y"),
        ("[new] images", "[new] images"),
        ("'/x/set #2'", "/x/set #2"),
        ("", None),  # which no path is
    ],
)
def test_a_value_of_text_is_taken_as_it_was_typed(value: str, kept: Any) -> None:
    assert parse_assignment(f"data.root={value}", ["data.root"]) == ("data.root", kept)


@pytest.mark.parametrize("text", ["run.epochs", "=3", "run.epochs=[1, 2", "", "run.epochs=!!int x"])
def test_a_malformed_assignment_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_assignment(text, [])
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"--set {text}: ")


class Inner(Section):
    size: int = 1


class Outer(Section):
    name: str
    inner: Inner = Inner()
    sizes: dict[str, int] = {}


def test_a_tree_becomes_a_frozen_model() -> None:
    outer = parse(Outer, {"name": "x", "inner": {"size": 3}}, "x.yaml")
    assert outer == Outer(name="x", inner=Inner(size=3))
    with pytest.raises(ValidationError, match="frozen"):
        outer.inner.size = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "name is missing"),
        ({"name": "x", "iner": {}}, "unknown key 'iner'; did you mean 'inner'?"),
        ({"name": "x", "inner": {"siez": 1}}, "unknown key 'inner.siez'; did you mean"),
        ({"name": "x", "inner.size": 1}, "inner.size must be nested: inner: {size: ...}"),
        ({"name": "x", "inner": 3}, "inner must be a section with keys of its own, got 3"),
        ({"name": "x", "inner": {"size": "big"}}, "inner.size must be a valid integer, "),
        ({"name": "x", "sizes": {1: 1}}, "sizes.1 must be text, got 1"),
        ({"name": None}, "name must be a valid string, got None"),
    ],
)
def test_what_is_wrong_with_a_tree_is_told_with_its_place(
    tree: dict[Any, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        parse(Outer, tree, "x.yaml")
    (line,) = str(error.value).splitlines()
    assert line.startswith("x.yaml: ")
    assert message in line


def test_a_rule_of_the_model_itself_is_told_in_its_words() -> None:
    class Even(BaseModel):
        n: int

        def model_post_init(self, context: object) -> None:
            if self.n % 2:
                raise ValueError(f"n must be even, got {self.n}")

    with pytest.raises(UserError, match=r"^x: n must be even, got 3$"):
        parse(Even, {"n": 3}, "x")
    assert parse(Even, {"n": 4}, "x").n == 4


@pytest.mark.parametrize(
    ("name", "hint"), [("appel", "; did you mean 'apple'?"), ("apple", "; did you mean 'apple'?")]
)
def test_the_nearest_of_the_known_names_is_offered(name: str, hint: str) -> None:
    assert nearest(name, ["pear", "apple", "plum"]) == hint
    assert nearest(name, iter(["pear", "apple"])) == hint
    assert nearest(name, ["fig"]) == ""


def test_only_an_unknown_key_is_refused() -> None:
    check_key("a", iter(["a", "b"]), "--set")
    with pytest.raises(UserError, match=r"^--set: unknown key 'sizes'; did you mean 'size'\?$"):
        check_key("sizes", iter(["size", "b"]), "--set")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\n  b\t c"), "a b c"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("x" * 900), "x" * 300),
    ],
)
def test_an_error_is_told_in_one_line(error: BaseException, line: str) -> None:
    assert one_line(error) == line


def test_each_line_of_a_message_is_shown_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(UserError("one\ntwo"))
    assert capsys.readouterr() == ("", "error: one\nerror: two\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a\x1b[31mb\udcff", r"a\x1b[31mb\udcff"),
        ("名前 [red]x[/]", "名前 [red]x[/]"),
        ("a" * 800 + "b" * 800, "a" * 500 + " ... " + "b" * 500),
    ],
)
def test_a_line_is_shown_as_a_terminal_can_show_it(
    capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    show_error(UserError(line))
    assert capsys.readouterr().err == f"error: {said}\n"


def test_the_stack_trace_is_shown_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        read_yaml(Path("nowhere.yaml"))
    except UserError as error:
        show_error(error, with_trace=True)
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert "in read_yaml" in shown
    assert shown.endswith("\nerror: nowhere.yaml: there is no such file\n")
