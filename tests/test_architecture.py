"""Imports go one way, between packages and between files; no folder is more than one can hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASICS = ("config", "machine", "parsing", "plain_yaml", "seeds")
IMAGES = ("listing", "images")
MAY_IMPORT = {  # what a package takes from others of its house; `.` is what lies beside them
    "search": {
        "space": (),
        "log": ("space",),
        "strategy": ("space", "log"),
        "judge": ("space", "log", "strategy"),
        "preflight": ("space", "log", "strategy"),
        "proposal": ("space", "log", "strategy", "preflight"),
        "engine": ("space", "log", "strategy", "preflight"),
        "gallery": ("space", "log", "strategy", "judge"),
        "further": ("space", "log", "strategy", "judge"),
        "reporting": ("space", "log", "strategy", "judge", "gallery", "further"),
        "monitor": ("space", "log", "strategy"),
        ".": (
            *("space", "log", "strategy", "judge", "gallery", "further"),
            *("preflight", "proposal", "engine", "reporting", "monitor"),
        ),
    },
    "supcon": {
        "config": ("parsing", "plain_yaml"),
        "parsing": ("plain_yaml",),
        "machine": (),
        "plain_yaml": (),
        "seeds": (),
        "listing": BASICS,
        "images": (*BASICS, "listing"),
        "audit": (*BASICS, *IMAGES),
        "network": (*BASICS, *IMAGES),
        "recipe": (*BASICS, *IMAGES, "network"),
        "evaluation": (*BASICS, *IMAGES, "network", "recipe"),
        "transfer": (*BASICS, *IMAGES, "network", "evaluation"),
        "intake": (*BASICS, *IMAGES),
        "reliability": (*BASICS, *IMAGES, "network", "recipe", "evaluation"),
        "bundle": (*BASICS, *IMAGES, "intake", "network", "evaluation", "reliability"),
        "bundling": (
            *(*BASICS, *IMAGES, "intake", "network", "recipe", "evaluation", "reliability"),
            *("bundle", "."),
        ),
        "explore": (*BASICS, *IMAGES, "intake", "evaluation", "reliability", "bundle"),
        ".": (*BASICS, *IMAGES, "audit", "network", "recipe", "evaluation", "bundle", "cli"),
        "cli": (
            *(*BASICS, *IMAGES, "network", "recipe", "evaluation", "."),
            *("transfer", "intake", "bundle", "bundling", "explore"),
        ),
    },
}
MOST_MODULES = 14


def files(house: str) -> list[Path]:
    return sorted((ROOT / house).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, also for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            for name in node.names:  # `from search.monitor import servers`
                if (ROOT / node.module.replace(".", "/") / f"{name.name}.py").exists():
                    yield f"{node.module}.{name.name}"


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package(module: str) -> str:
    """`log` of search.log.events and search.log; `.` of what has no rule of its own."""
    house, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    return first if first in MAY_IMPORT[house] else "."


@pytest.mark.parametrize("house", MAY_IMPORT)
def test_packages_import_only_those_below_them(house: str) -> None:
    wrong = [
        f"{name_of(file)} imports {module}"
        for file in files(house)
        for module in imports(file)
        if module.partition(".")[0] == house
        and module != house
        and package(module)
        not in (package(name_of(file)), *MAY_IMPORT[house][package(name_of(file))])
    ]
    assert wrong == []


@pytest.mark.parametrize("house", MAY_IMPORT)
def test_no_files_import_each_other_in_a_circle(house: str) -> None:
    known = {name_of(file): file for file in files(house)}
    graph = {
        name: {m for m in imports(file) if m in known} - {name} for name, file in known.items()
    }
    packages = {name_of(file) for file in files(house) if file.name == "__init__.py"}
    for name in graph:
        graph[name] -= packages  # they hand names on, or nothing
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_supcon_never_imports_the_harness() -> None:
    foreign = {"ray", "optuna", "search"}
    assert [
        (name_of(file), module)
        for file in files("supcon")
        for module in imports(file)
        if module.partition(".")[0] in foreign
    ] == []


@pytest.mark.parametrize(
    ("library", "folder"), [("ray", "search/engine"), ("plotly", "search/reporting")]
)
def test_a_large_library_is_imported_in_one_package_alone(library: str, folder: str) -> None:
    found = {
        file.relative_to(ROOT).parent.as_posix()
        for file in [*files("search"), *files("supcon")]
        for module in imports(file)
        if module.partition(".")[0] == library
    }
    assert found == {folder}


@pytest.mark.parametrize("house", ["search", "supcon", "tests"])
def test_no_folder_holds_more_modules_than_one_can_keep_in_mind(house: str) -> None:
    folders = {file.parent for file in files(house)}
    counts = {
        folder.relative_to(ROOT).as_posix(): sum(
            f.name != "__init__.py" for f in folder.glob("*.py")
        )
        for folder in folders
    }
    assert {folder: n for folder, n in counts.items() if n > MOST_MODULES} == {}


@pytest.mark.parametrize("house", ["search", "supcon"])
def test_every_package_says_in_a_sentence_what_it_holds(house: str) -> None:
    for file in files(house):
        if file.name == "__init__.py":
            assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file


@pytest.mark.parametrize("house", ["search", "supcon"])
def test_every_module_has_a_test_file_of_its_own(house: str) -> None:
    for file in files(house):
        room = file.parent.name
        if file.name == "__init__.py" and (room != house or house == "search"):
            continue
        beside = "commands" if house == "search" else "training"
        if file.name == "__main__.py":
            beside = "cli"
        folder = ROOT / "tests" / (beside if room == house else room)
        assert (folder / f"test_{file.stem.strip('_')}.py").exists(), file


def test_what_ray_may_change_without_notice_is_used_in_three_files() -> None:
    private = ("ray._private", "ray.core")
    found = {f.name for f in files("search") for module in imports(f) if module.startswith(private)}
    assert found == {"session.py", "auth_token.py", "actor_label.py"}
