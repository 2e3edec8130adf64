"""Spaces and command lines with something wrong, drawn at random, and how a search ends on them."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hypothesis import strategies as st

from search.preflight.trial_cost import TrialCost, kinds
from search.run import main
from search.space.space import Space
from supcon.config import Config, DataConfig, flatten
from supcon.images.split import Splits
from supcon.plain_yaml import read

C = TypeVar("C", Config, DataConfig)
T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
SPACES = ROOT / "spaces"
BACKBONES = {"resnet18": "test_resnet", "resnet34": "test_efficientnet", "resnet50": "test_vit"}
Place = tuple[str | int, ...]
"""Keys and indices from the root of a tree down to a value."""

NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 7, 0.5, -0.5, 1e-5, 1e-300, 5e-324, 1e300, -1e300, 1e308, 10**9, 10**18, 2**31,
    2**32, 2**63, 10**30, -(10**30), 10**350, -(10**350), float("inf"), float("-inf"), float("nan"),
]  # fmt: skip
TEXTS = [
    "", " ", "x", "auto", "none", "null", "1e-5", "0x10", "1_000", "1:30", "12:00", "yes", "on",
    "../x", "/dev/null", "/root/x", "~nobody/x", "a.b", "loss.name", "supcon", "ce", "sgd", "cuda",
    "~", "$x", "${HOME}", "%s", "{0}", "[red]x[/]", "<b>", "名前", "ärm", "\u200b", "a b",
    "x" * 5000,
    "a\nb", "a\u2028b", "\x1b[31m", "\x00", "!!int x", "&a *a", "nan", "inf", "-", "#", "true",
]  # fmt: skip
KEYS = sorted(
    {*flatten(Config()), *Space.model_fields, *Config.model_fields, "seed", "uniform", "choice",
     "when", "step", "asha", "grace", "<<", "1", "", ".", "..", "x", "run.epochs.x", "名前", "a\nb"}
)  # fmt: skip


def small(name: str) -> dict[str, Any]:
    """A shipped space with bundled images and small backbones, so that it is checked in no time."""
    text = (SPACES / f"{name}.yaml").read_text(encoding="utf-8")
    for large, tiny in BACKBONES.items():
        text = text.replace(large, tiny)
    text = text.replace("1024", "256").replace("cpu: auto, gpu: auto", "cpu: auto, gpu: 0")
    tree: dict[str, Any] = read(text)
    tree["base"]["data"] |= {"name": "digits", "val_size": 0.2, "train_size": None}
    tree["base"].setdefault("model", {}).setdefault("backbone", "test_resnet")
    tree["base"]["run"]["precision"] = "fp32"
    return tree


TREES = {path.stem: small(path.stem) for path in sorted(SPACES.glob("*.yaml"))}


PIECES = [
    b"\t", b"\n", b"\r", b":", b": ", b"- ", b"{", b"}", b"[", b"]", b"'", b'"', b"#", b" #",
    b"&a ", b"*a", b"<<: ", b"!!", b"!!int ", b"%", b"@", b"---\n", b"\x00", "é".encode(),
    b": {a: ", b"? ", b", ", b"|", b">", b"9" * 400, b"[" * 200, b"{a: " * 200, "\u2028".encode(),
]  # fmt: skip


def places(tree: Any, here: Place = ()) -> Iterator[Place]:
    """Everything in a tree but its root."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in inner if isinstance(tree, dict | list) else ():
        yield (*here, key)
        if isinstance(value, dict | list):
            yield from places(value, (*here, key))


scalars = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from([True, False, None]),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=5,
)
distributions = st.builds(
    lambda kind, ends, more: {kind: ends, **more},
    st.sampled_from(["uniform", "loguniform", "int", "logint", "pow2", "choice", "normal", ""]),
    st.lists(st.sampled_from(NUMBERS) | scalars, max_size=4),
    st.dictionaries(
        st.sampled_from(["step", "when", "steps"]),
        scalars | st.dictionaries(st.sampled_from(KEYS), scalars, max_size=2),
        max_size=2,
    ),
)
assignments = st.builds(
    lambda prefix, key, value: f"{prefix}{key}={value}",
    st.sampled_from(["", "", "", "base.", "params.", "arms.ce.", "arms.x.", "points.", "budget."]),
    st.sampled_from(KEYS) | st.text(max_size=5),
    st.one_of(
        (scalars | distributions).map(lambda value: yaml.safe_dump(value, default_flow_style=True)),
        scalars.map(str),
    ),
)


CHANGES = [
    "drop", "rename", "value", "retype", "wrap", "nest", "distribution", "add", "scale", "scale",
]  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> tuple[dict[str, Any], list[Place]]:
    """A shipped space with a few things changed, and where."""
    tree = copy.deepcopy(TREES[draw(st.sampled_from(sorted(TREES)))])
    where = [_change(draw, tree) for _ in range(draw(st.integers(1, 3)))]
    return tree, where


def _change(draw: st.DrawFn, tree: dict[str, Any]) -> Place:
    place = draw(st.sampled_from(list(places(tree)) or [("name",)]))
    node: Any = tree
    for step in place[:-1]:
        node = node[step]
    key: Any = place[-1]
    old = node.pop(key) if isinstance(node, list) else node.pop(key, None)
    new: Any
    match draw(st.sampled_from(CHANGES)):
        case "drop":
            return place
        case "rename" if isinstance(key, str):
            at = draw(st.integers(0, len(key)))
            key = draw(st.sampled_from(KEYS) | st.just(key[:at] + key[at + 1 :]))
            new = old
        case "retype":
            new = _retyped(old)
        case "wrap":
            new = draw(st.sampled_from([[old], {"x": old}, [old, old], {str(key): old}]))
        case "nest":
            new = old
            for _ in range(draw(st.sampled_from([5, 30, 100]))):
                new = {"x": new}
        case "scale" if isinstance(old, int | float) and not isinstance(old, bool):
            factor = draw(st.sampled_from([0, -1, 0.5, 0.1, 2, 3, 10, 1000, 10**9, 1e-9, 1e300]))
            new = old * factor
            new = int(new) if new == int(new) else new
        case "distribution":
            new = draw(distributions)
        case "add" if isinstance(old, dict):
            new = {**old, draw(st.sampled_from(KEYS)): draw(values)}
        case _:
            new = draw(values)
    if isinstance(node, list):
        node.insert(key, new)
    else:
        node[key] = new
    return (*place[:-1], key)


def _retyped(old: Any) -> Any:
    """The same in another type."""
    match old:
        case dict():
            return list(old.items())[:1] and [list(pair) for pair in old.items()]
        case list():
            return {str(i): value for i, value in enumerate(old)}
        case bool() | int() | float() | None:
            return str(old)
        case _:
            return [old]


SETTINGS = (
    "true false null auto small full linear mlp supcon sincere simclr ce sgd adamw lars lamb sqrt "
    "cosine constant wsd lbfgs cpu fp32 bf16 fp16 resident streaming test_vit [1] [1e-5,1e-4] "
    "digits 0 0.05 0.1 0.5 0.9 1 2 3 5 8 16 32 64 100 1000 1000000000000 1e-9"
)
fitting = st.builds(
    lambda key, value: f"{key}={value}",
    st.sampled_from(sorted(flatten(Config()))),
    st.sampled_from(SETTINGS.split()),
)


def _flag(names: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[list[str]]:
    return st.tuples(st.sampled_from(names.split()), value).map(lambda x: [x[0], str(x[1])])


whole = st.sampled_from([1, 2, 4, 20, 200, 1000, 10**6, 10**12, 10**18])
possible = st.one_of(
    fitting.map(lambda text: ["--set", text]),
    _flag("--trials --epochs --seed --concurrency", whole),
    _flag("--time", st.sampled_from(["600", "1.5h", "1d", "1:30", "90m", "1h30", "1e3", "inf"])),
    _flag("--cpus-per-trial --gpus-per-trial", st.sampled_from([0, 0.5, 1, 2, "auto", "1e-5", -1])),
    _flag("--set", distributions.map(lambda d: f"params.optim.momentum={yaml.safe_dump(d)}")),
)
LONE = "--resume --extend --noise-floor --keep --debug=1 --sett --trials"
impossible = st.one_of(
    assignments.map(lambda text: ["--set", text]),
    _flag("--trials --epochs --seed --concurrency --repeat --time --points --results", scalars),
    _flag("--cpus-per-trial --gpus-per-trial --name --space", scalars),
    _flag("--watch-host --address", st.sampled_from(["127.0.0.1:1", "127.0.0.1:99999", ":1"])),
    st.sampled_from(LONE.split()).map(lambda flag: [flag]),
)
command_lines = st.one_of(
    st.lists(possible, min_size=1, max_size=3),
    st.lists(possible | impossible, min_size=1, max_size=4),
).map(lambda flags: [argument for flag in flags for argument in flag])


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """The file of a shipped space with some of its bytes changed, or in another encoding."""
    text = draw(st.sampled_from([path.read_text() for path in sorted(SPACES.glob("*.yaml"))]))
    content = text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        gone = draw(st.sampled_from([0, 0, 1, 5, 500]))
        new = draw(st.sampled_from(PIECES) | st.binary(max_size=3))
        content = content[:at] + new + content[at + gone :]
    return content


def costs_at_once(space: Space, images: Any, address: str | None) -> list[Any]:
    """In place of `search.run.measure`, which trains some steps of each kind of config."""
    return [TrialCost(config, 1.0, 0.5, 1000.0, 10**8, 10**10, 10**6) for config in kinds(space)]


def once_each(function: Callable[..., T]) -> Callable[..., T]:
    """A function of a config and its images, whose answer for equal configs is kept."""
    known: dict[str, T] = {}

    def look(config: C, data: Splits, *rest: Any) -> T:
        key = f"{config.model_dump_json()} {data.train.images.shape}"
        if key not in known:
            known[key] = function(config, data, *rest)
        return known[key]

    return look


def ending(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a search, and what it said on stderr."""
    said, rest = io.StringIO(), io.StringIO()
    with redirect_stderr(said), redirect_stdout(rest):
        try:
            code = main(arguments)
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
    return code, said.getvalue()
