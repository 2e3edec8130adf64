"""Which study a command line is about: a new one, one that goes on, one with a larger budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from search.log.folder import StudyFolder, newest_of
from search.log.journal import Journal
from search.preflight.options import Options
from search.space.loading import load_space, of_log, parse_space, with_resources, with_settings
from search.space.resources import Footprint
from search.space.space import Space, is_plain_name
from supcon.parsing import UserError

RESOURCES = {"resources.concurrency", "resources.cpu", "resources.gpu"}
"""What may differ when a study goes on: what trials take, not what they are."""


@dataclass(frozen=True)
class Chosen:
    """The study that is meant."""

    folder: StudyFolder
    space: Space
    measured: tuple[Footprint, ...] = ()
    """What each kind of config takes, as far as the study has measured it."""
    goes_on: bool = False
    """Whether it exists."""

    @property
    def must_measure(self) -> bool:
        """Whether shares are `auto`, and nothing is known about them yet."""
        return self.space.resources.is_auto and not self.measured


def chosen_study(options: Options) -> Chosen:
    """The study that a command line is about.

    Raises:
        UserError: it cannot be found, made or continued as asked.
    """
    if options.resume or (options.go_on and existing(options) is not None):
        return study_to_resume(options)
    return new_study(options)


def existing(options: Options) -> StudyFolder | None:
    """The study that --resume or --continue would go on with, if there is one."""
    if options.name is None:
        return newest_of(options.results, space_name(options))
    folder = StudyFolder(options.results / options.name)
    return folder if folder.events.exists() else None


def space_name(options: Options) -> str:
    """The name of the space that is meant: the file's, unless --set gives another."""
    return str(options.changes().get("name") or load_space(options.space, {}).name)


def new_study(options: Options) -> Chosen:
    """A new study."""
    space = load_space(options.space, options.changes())
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
    return Chosen(StudyFolder(folder), space)


def study_to_resume(options: Options) -> Chosen:
    """A study that exists, with the space that its log recorded."""
    given = options.changes()
    check_name(options.name)
    wanted = space_name(options)
    folder = StudyFolder(options.results / options.name) if options.name else existing(options)
    if folder is None:
        raise UserError(
            f"--resume: {options.results} holds no study of '{wanted}'; start one without --resume"
        )
    log = Journal.open(folder.events)
    space = parse_space(of_log(log.latest.space), str(folder.path))
    if space.name != wanted:
        raise UserError(f"--resume: {folder.path} is a study of '{space.name}', not of '{wanted}'")
    budget = {k: v for k, v in given.items() if k.startswith("budget.") and options.extend}
    check_unchanged(space, {k: v for k, v in given.items() if k not in budget})
    if options.extend:
        space = extended(space, budget)
    return on_other_machine(Chosen(folder, space, log.measured, goes_on=True), given)


def on_other_machine(study: Chosen, given: dict[str, Any]) -> Chosen:
    """A study with other resources, if any are given; what is `auto` is then measured again."""
    changed = {key.split(".")[1]: value for key, value in given.items() if key in RESOURCES}
    if not changed:
        return study
    space = with_resources(study.space, changed, "--resume")
    return replace(
        study, space=space, measured=() if changed.keys() & {"cpu", "gpu"} else study.measured
    )


def check_unchanged(space: Space, given: dict[str, Any]) -> None:
    """Raise a UserError if something is to change in a study that goes on.

    Args:
        space: that the study was started with.
        given: dotted key -> value; one that says what the space says anyway changes nothing.
    """
    wanted = {key: value for key, value in given.items() if key not in RESOURCES}
    if not wanted or with_settings(space, wanted).dump() == space.dump():
        return
    differing = sorted(key for key, value in wanted.items() if _differs(space, key, value))
    if differing:
        raise UserError(
            f"--resume: a study goes on with the space it was started with, but "
            f"{', '.join(differing)} was given with another value; leave it out, or start another "
            f"study (a larger budget: --extend)"
        )


def _differs(space: Space, key: str, value: Any) -> bool:
    if value == "auto":  # what that is was found out when the study was started
        return False
    try:
        return with_settings(space, {key: value}).dump() != space.dump()
    except UserError:  # it goes with another one
        return True


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
        raise UserError(f"--name {name}: letters, digits, '.', '_' and '-' only, at most 200")
