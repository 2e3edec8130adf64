"""The command line of a search: what a flag is called, what it sets, and what is given."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.space.loading import TEXT_KEYS
from search.space.points import read_points
from supcon.parsing import Section, parse_assignment
from supcon.plain_yaml import is_fit

MOST_HOURS = 10_000  # a year


class Options(Section):
    """What a command line asks for; a flag that is a setting of the space is in `settings`."""

    init: Path | None
    """Images to propose a space for, instead of running one."""
    out: Path
    """Where that goes."""
    hours: float
    """What it may take."""
    space: Path
    name: str | None
    results: Path
    settings: dict[str, Any]
    """Dotted key of the base config or of the space -> value."""
    assignments: tuple[str, ...]
    """Likewise as KEY=VALUE, which come last."""
    points: Path | None
    resume: bool
    go_on: bool
    """Resume the study if there is one, else start it."""
    extend: bool
    dry_run: bool
    noise_floor: bool
    repeat: int | None
    address: str | None
    """Of a cluster; None: a Ray of its own."""
    watch: bool
    keep: bool
    watch_host: str | None
    on_end: str | None
    """A shell command."""
    debug: bool
    command: str
    """As it was typed."""

    def changes(self) -> dict[str, Any]:
        """All changes to the space, by dotted key, in the order in which they are made.

        Raises:
            UserError: a value is not YAML, or the file with points cannot be read.
        """
        given = dict(self.settings)
        if self.points is not None:
            given = {"budget.total_epochs": None, "budget.trials": None} | given
            given |= {"points": read_points(self.points), "sampler": "points"}
        return given | dict(parse_assignment(text, TEXT_KEYS) for text in self.assignments)


def parse_options(description: str, arguments: Sequence[str] | None) -> Options:
    """The options that a command line gives; None: that of this process."""
    parser = argparse.ArgumentParser(prog="search/run.py", description=description)
    add, keys = parser.add_argument, list[str]()

    def sets(flag: str, key: str, kind: Any, metavar: str, text: str) -> None:
        add(flag, dest=key, type=kind, metavar=metavar, help=text)
        keys.append(key)

    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--space", type=Path, metavar="FILE", help="search space in YAML")
    what.add_argument(
        "--init",
        type=Path,
        metavar="PATH",
        help="look at the images there (a folder, a table, a saved data set) and write a space "
        "that fits them and this machine",
    )
    add("--out", type=Path, metavar="FILE", help="with --init: default spaces/NAME.yaml")
    add("--hours", type=hours, metavar="H", help="with --init: for about so long (default: 4)")
    add("--name", metavar="STUDY", help="name of the study (default: that of the space)")
    add("--results", type=folder, default=Path("results"), metavar="DIR", help="default: results/")
    sets("--trials", "budget.trials", int, "N", "at most N trials an arm")
    sets("--time", "budget.time", str, "T", "of the whole study, for example 90m, 12h or 1d")
    sets("--epochs", "run.epochs", int, "N", "length of one trial")
    sets("--seed", "seed", int, "N", "seed of the study")
    sets("--concurrency", "resources.concurrency", int, "N", "trials at once (default: what fits)")
    sets("--cpus-per-trial", "resources.cpu", amount, "X", "a number, or auto")
    sets("--gpus-per-trial", "resources.gpu", amount, "X", "a fraction shares a GPU; or auto")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="change a setting of the base config (optim.warmup=0.05) or of the space "
        "(budget.total_epochs=500); repeatable",
    )
    add(
        "--points",
        type=Path,
        metavar="FILE",
        help="run exactly the trials of another study's trials.csv, or those of a YAML file",
    )
    add("--resume", action="store_true", help="continue a study that was interrupted or killed")
    add(
        "--continue",
        action="store_true",
        dest="go_on",
        help="start the study, or go on with it if it exists: one line for every start of a job",
    )
    add("--extend", action="store_true", help="continue a study with a larger budget")
    add("--dry-run", action="store_true", help="say what it will cost, and start nothing")
    add(
        "--noise-floor",
        action="store_true",
        help="first train the published settings on several seeds, and say what can be shown",
    )
    add(
        "--repeat",
        type=int,
        metavar="R",
        help="R independent searches, of other seeds and splits; then a sentence on the methods",
    )
    add("--address", metavar="HOST:PORT", help="an existing Ray cluster (default: a local one)")
    add("--watch", action="store_true", help="TensorBoard and optuna-dashboard beside the search")
    add("--keep", action="store_true", help="with --watch: let them run when the search has ended")
    add("--watch-host", metavar="HOST", help="with --watch: listen there (default: 127.0.0.1)")
    add(
        "--on-end",
        metavar="COMMAND",
        help="run it when the study has ended or failed, with SUPCON_VERDICT, SUPCON_REPORT, "
        "SUPCON_STUDY, SUPCON_EXIT_CODE and SUPCON_ERROR in its environment",
    )
    add("--debug", action="store_true", help="show the stack trace of an error")
    typed = sys.argv[1:] if arguments is None else arguments
    for text in typed:
        if not is_fit(re.sub(r"\s", " ", text)):
            parser.error(f"{text!a:.80} must be text in UTF-8 without control characters")
    given = vars(parser.parse_args(arguments))
    given["resume"] = given["resume"] or given["extend"]
    _check_init(parser, given, typed)
    given["space"] = given["space"] or Path()
    given["out"] = given["out"] or Path("spaces", f"{proposed_name(given['init'])}.yaml")
    given["hours"] = given["hours"] or 4.0
    set_by_flags = {key: given.pop(key) for key in keys}
    settings = {key: value for key, value in set_by_flags.items() if value is not None}
    return Options(
        **given, settings=settings, command=shlex.join(["python", "search/run.py", *typed])
    )


def _check_init(
    parser: argparse.ArgumentParser, given: dict[str, Any], typed: Sequence[str]
) -> None:
    """Refuse flags that would be passed over in silence."""
    if given["init"] is None:
        for flag in ("out", "hours"):
            if given[flag] is not None:
                parser.error(f"argument --{flag}: goes with --init; add it")
        return
    flags = {text.partition("=")[0] for text in typed if text.startswith("--")}
    if others := sorted(flags - {"--init", "--out", "--hours", "--set", "--debug"}):
        parser.error(
            f"argument {others[0]}: is of a search, and --init starts none; give it with --space "
            f"when the space is there"
        )


def hours(text: str) -> float:
    """A number of hours that a search can take."""
    if not 0 < (found := float(text)) <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {MOST_HOURS}, got {text}")
    return found


def proposed_name(path: Path | None) -> str:
    """What a space is called that is for the images at a path, or that lies there."""
    stem = path.expanduser().absolute().stem if path else ""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-").lower() or "mine"


def amount(text: str) -> float | str:
    """A number, or `auto`."""
    return text if text == "auto" else float(text)


def folder(text: str) -> Path:
    """A path that a folder can have, and that may be looked into."""
    try:
        (Path(text) / "x").exists()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text:.80}: {error.strerror}") from None
    return Path(text)
