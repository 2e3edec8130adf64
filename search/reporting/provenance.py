"""Where the numbers of a study come from: code and machines, and commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from search.log.events import Started
from search.log.study import Study
from search.log.wording import show_time
from supcon.parsing import Section


class Resumed(Section):
    """Other code, packages or machines than at first, that a study went on with."""

    when: str
    """When they were first there."""
    commit: str
    versions: dict[str, str]
    machine: str
    text: str
    """What differs."""


def resumed_with(study: Study) -> list[Resumed]:
    """Other code, packages or machines than at first, that a study went on with."""
    first, found = study.log.started, list[Resumed]()
    seen = [_surroundings(first)]
    for event in study.log.events:
        if isinstance(event, Started) and _surroundings(event) not in seen:
            seen.append(_surroundings(event))
            found.append(
                Resumed(
                    when=show_time(event.time),
                    commit=event.commit,
                    versions=event.versions,
                    machine=event.machine,
                    text=_changes(first, event),
                )
            )
    return found


def _surroundings(opened: Started) -> tuple[str, dict[str, str], str]:
    return opened.commit, opened.versions, opened.machine


def _changes(first: Started, later: Started) -> str:
    """`commit 1f2 (first abc), torch 2.9 (first 2.8)`: what a study went on with."""
    names = [*first.versions, *(name for name in later.versions if name not in first.versions)]
    then, now = ({name: o.versions.get(name, "none") for name in names} for o in (first, later))
    then |= {"commit": first.commit, "machine": first.machine}
    now |= {"commit": later.commit, "machine": later.machine}
    order = ["commit", *names, "machine"]
    changed = [name for name in order if now[name] != then[name]]
    return ", ".join(f"{name} {now[name]} (first {then[name]})" for name in changed)


def commands(study: Study, winners: Iterable[str]) -> list[str]:
    """What makes the numbers again: as they were typed, then for the winners and the report."""
    folder = study.folder
    opened = [event for event in study.log.events if isinstance(event, Started) and event.command]
    return [
        *dict.fromkeys(event.command for event in opened),
        *(f"python -m supcon train {as_typed(folder.best(arm))}" for arm in winners),
        f"python search/report.py {as_typed(folder.path)}",
    ]


def as_typed(path: Path) -> str:
    """A path as a command takes it, relative to the current folder if it lies there."""
    with suppress(ValueError):
        path = path.absolute().relative_to(Path.cwd())
    return shlex.quote(str(path))
