"""Where the numbers of a study come from: code, machine, images, openings, commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any

from search.judge.sealed import is_for
from search.log.events import Ask, Opened, Scored, Unsealed
from search.log.journal import Journal


def provenance(journal: Journal) -> dict[str, Any]:
    """Code, machine and images that a study began with, and others that it went on with."""
    opened = journal.opened
    return {
        "study": opened.study,
        "commit": opened.commit,
        "versions": opened.versions,
        "machine": opened.machine,
        "data_hash": opened.data_hash,
        "opened": _when(opened.time),
        "resumed_with": _resumed_with(journal),
    }


def _resumed_with(journal: Journal) -> list[dict[str, Any]]:
    first, found = journal.opened, list[dict[str, Any]]()
    seen = [_surroundings(first)]
    for event in journal.events:
        if isinstance(event, Opened) and (now := _surroundings(event)) not in seen:
            seen.append(now)
            found.append({"when": _when(event.time), **now, "text": _changes(first, event)})
    return found


def _surroundings(opened: Opened) -> dict[str, Any]:
    return {"commit": opened.commit, "versions": opened.versions, "machine": opened.machine}


def _changes(first: Opened, later: Opened) -> str:
    """`commit 1f2 (first abc), torch 2.9 (first 2.8)`: what a study went on with."""
    names = [*first.versions, *(name for name in later.versions if name not in first.versions)]
    then, now = ({name: o.versions.get(name, "none") for name in names} for o in (first, later))
    then |= {"commit": first.commit, "machine": first.machine}
    now |= {"commit": later.commit, "machine": later.machine}
    order = ["commit", *names, "machine"]
    changed = [name for name in order if now[name] != then[name]]
    return ", ".join(f"{name} {now[name]} (first {then[name]})" for name in changed)


def openings(journal: Journal) -> list[dict[str, Any]]:
    """The ledger of the test images; of an opening that an older log lacks, its scores tell."""
    unlogged: dict[str, list[str]] = {}
    for trial in journal.trials.values():
        if trial.tested and not any(is_for(opening, trial) for opening in journal.openings):
            unlogged.setdefault(f"{trial.ask.arm}, {trial.ask.phase}", []).append(trial.name)
    unknown = {"when": None, "commit": None, "data_hash": None, "of_files": None}
    return [{"what": what, **unknown, "runs": runs} for what, runs in unlogged.items()] + [
        {
            "what": f"{opening.arm}, {opening.phase}",
            "when": _when(opening.time),
            "commit": opening.commit,
            "data_hash": opening.data_hash,
            "of_files": opening.of_files,
            "runs": [
                journal.trials[opening.arm, opening.phase, number].name
                for number in opening.numbers
            ],
        }
        for opening in journal.openings
    ]


def opened_before(journal: Journal) -> str:
    """A sentence, if anything was decided on or trained after the test images had spoken."""
    later = dropwhile(lambda event: not isinstance(event, Unsealed | Scored), journal.events)
    if not any(isinstance(e, Ask) and e.phase in ("search", "pick", "confirm") for e in later):
        return ""
    n = len(openings(journal))
    return (
        f"The test images of this study had been opened before ({n} openings in all, and trials in "
        f"between): who has seen a test score is no longer blind to it."
    )


def commands(journal: Journal, winners: Iterable[str]) -> list[str]:
    """What makes the numbers again: as they were typed, then for the winners and the report."""
    folder = journal.path.parent
    opened = [event for event in journal.events if isinstance(event, Opened) and event.command]
    return [
        *dict.fromkeys(event.command for event in opened),
        *(f"python -m supcon train {as_typed(folder / 'best' / f'{a}.yaml')}" for a in winners),
        f"python search/report.py {as_typed(folder)}",
    ]


def as_typed(path: Path) -> str:
    """A path as a command takes it, relative to the current folder if it lies there."""
    with suppress(ValueError):
        path = path.absolute().relative_to(Path.cwd())
    return shlex.quote(str(path))


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
