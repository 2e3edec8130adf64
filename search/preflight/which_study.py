"""Which study a command line is about: a new one, one that goes on, one with a larger budget."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from search.space.loading import load_space, parse_space, with_resources
from search.space.space import Space, is_plain_name
from supcon.parsing import UserError, parse_assignment

RESOURCES = {"resources.concurrency", "resources.cpu", "resources.gpu"}
"""What may differ when a study goes on: what trials take, not what they are."""


def plan(options: argparse.Namespace) -> tuple[Path, Space]:
    """The folder and the space of a new study."""
    space = load_space(options.space, changes(options))
    check_name(options.name)
    folder = options.results / (options.name or space.name)
    if options.name is not None and folder.exists():
        raise UserError(
            f"--name {options.name}: {folder} exists; continue it with --resume, remove it, or "
            f"choose another name"
        )
    number = 1
    while folder.exists():
        number += 1
        folder = options.results / f"{space.name}-{number}"
    return folder, space


def resume(options: argparse.Namespace) -> tuple[Path, Space]:
    """The folder of a study that exists, and the space that its log recorded."""
    from search.log.journal import Journal

    given = changes(options)
    budget = {k: v for k, v in given.items() if k.startswith("budget.") and options.extend}
    check_unchanged({k: v for k, v in given.items() if k not in budget})
    check_name(options.name)
    wanted = load_space(options.space, {}).name
    folder = options.results / (options.name or newest_study(options.results, wanted))
    space = parse_space(Journal.open(folder / "events.jsonl").space, str(folder))
    if space.name != wanted:
        raise UserError(f"--resume: {folder} is a study of '{space.name}', not of '{wanted}'")
    if options.extend:
        space = extended(space, budget)
    return folder, on_other_machine(space, given)


def on_other_machine(space: Space, given: dict[str, Any]) -> Space:
    """The space on another machine: with other resources, and what was measured for them if any."""
    changed = {key.split(".")[1]: value for key, value in given.items() if key in RESOURCES}
    if not changed:
        return space
    if changed.keys() & {"cpu", "gpu"}:
        changed["measured"] = ()  # is measured again if they are auto
    return with_resources(space, changed, "--resume")


def check_unchanged(given: dict[str, Any]) -> None:
    """Raise a UserError if something is to change in a study that goes on."""
    keys = given.keys() - RESOURCES
    if keys:
        raise UserError(
            f"--resume: a study goes on with the space it was started with, but "
            f"{', '.join(sorted(keys))} was given; leave it out, or start another study (a larger "
            f"budget: --extend)"
        )


def extended(space: Space, changes: dict[str, Any]) -> Space:
    """The space with a larger budget.

    Raises:
        UserError: nothing of the budget is given, or something of it is smaller than before.
    """
    if not changes:
        raise UserError("--extend: give the larger budget with --trials, --time or --set budget...")
    before = space.budget.model_dump()
    changed = parse_space(
        space.dump() | {"budget": before | {k.split(".")[1]: v for k, v in changes.items()}},
        "--extend",
    )
    for key, value in changed.budget.model_dump().items():
        if value is not None and (before[key] is None or value < before[key]):
            limit = "without limit" if before[key] is None else f"{before[key]:g}"
            raise UserError(
                f"--extend: budget.{key} must not be smaller than before, {limit}; got {value:g}"
            )
    return changed


def check_name(name: str | None) -> None:
    """Raise a UserError unless the name, if given, is that of a folder in the results folder."""
    if name is not None and not is_plain_name(name):
        raise UserError(f"--name {name}: letters, digits, '.', '_' and '-' only")


def newest_study(results: Path, name: str) -> str:
    """The study of a space that was started last."""
    studies = re.compile(rf"{re.escape(name)}(-\d+)?")
    logs = [log for log in results.glob("*/events.jsonl") if studies.fullmatch(log.parent.name)]
    if not logs:
        raise UserError(
            f"--resume: {results} holds no study of '{name}'; start one without --resume"
        )
    return max(logs, key=lambda log: log.stat().st_mtime).parent.name


def changes(options: argparse.Namespace) -> dict[str, Any]:
    """Flags and --set as one list of dotted changes."""
    flags = {
        "budget.trials": options.trials,
        "budget.time": options.time,
        "run.epochs": options.epochs,
        "seed": options.seed,
        "resources.concurrency": options.concurrency,
        "resources.cpu": options.cpus_per_trial,
        "resources.gpu": options.gpus_per_trial,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    if options.points is not None:
        from search.space.points import read_points

        points = read_points(options.points)
        given = {"budget.total_epochs": None, "budget.trials": None} | given
        given |= {"points": points, "sampler": "points"}
    return given | dict(parse_assignment(text) for text in options.changes)
