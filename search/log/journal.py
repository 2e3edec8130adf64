"""events.jsonl: the only state of a study, append-only, one JSON object a line.

A line is written and flushed before anything acts on it. Trials, rungs, samplers, the ledger and
the report are all read off the same list, live or after a restart: there is no second truth.
"""

from __future__ import annotations

import fcntl
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from search.log.events import (
    ADAPTER,
    TIME_UP,
    Ask,
    End,
    Event,
    Opened,
    Outcome,
    Phase,
    Pictured,
    Report,
    Retry,
    Scored,
    Searched,
    TrialId,
    Unsealed,
)
from supcon.config import SELECTION_METRIC
from supcon.parsing import UserError


@dataclass
class Trial:
    """A trial as the log tells it."""

    ask: Ask
    reports: list[Report] = field(default_factory=list)
    retry: Retry | None = None
    end: End | None = None
    tested: Scored | None = None

    @property
    def name(self) -> str:
        """For people and folders: supcon-12, or supcon-confirm-1."""
        middle = "" if self.ask.phase == "search" else f"{self.ask.phase}-"
        return f"{self.ask.arm}-{middle}{self.ask.number}"

    @property
    def outcome(self) -> Outcome | None:
        """None while it runs."""
        return self.end.outcome if self.end else None

    @property
    def is_cut(self) -> bool:
        """Whether it was stopped by the end of the study's time, and not for its scores."""
        return self.end is not None and (self.end.outcome, self.end.detail) == ("stopped", TIME_UP)

    @property
    def ending(self) -> str:
        """How it ended, for people: its outcome, `cut`, or `unfinished`."""
        return "cut" if self.is_cut else self.outcome or "unfinished"

    @property
    def epochs(self) -> int:
        """Epochs trained, as far as known; a trial that has ended has cost at least one."""
        reported = self.reports[-1].epoch if self.reports else 0
        return max(reported, self.end.epochs, 1) if self.end else reported

    @property
    def scores(self) -> dict[int, float]:
        """Epoch -> selection metric of the report there."""
        return {report.epoch: report.metrics[SELECTION_METRIC] for report in self.reports}

    @property
    def score(self) -> float:
        """The selection metric of the last report; nan before the first."""
        return self.reports[-1].metrics[SELECTION_METRIC] if self.reports else float("nan")


class Journal:
    """The event log of a study, in a file and in memory."""

    def __init__(self, path: Path) -> None:
        """An empty log; use `create` or `open`."""
        self.path = path
        self.events: list[Event] = []
        self.trials: dict[TrialId, Trial] = {}
        self.listeners: list[Callable[[Event], None]] = []
        self.lock: BinaryIO | None = None
        self.broken: UserError | None = None
        self.latest: Opened
        self.openings: list[Unsealed] = []
        """Of the test images: the ledger."""
        self.pictures: list[Pictured] = []
        self.is_searched = False
        """Whether the search is over, as said since its budget was last changed."""

    @classmethod
    def create(cls, path: Path, opened: Opened) -> Journal:
        """Start a new log, to be written by this process, in a folder that does not exist yet."""
        path.parent.mkdir(parents=True)
        path.touch()
        journal = cls(path)
        journal.claim()
        journal.append(opened)
        return journal

    @classmethod
    def open(cls, path: Path, *, to_write: bool = False) -> Journal:
        """Read a log; a torn last line, left by a kill, does not count.

        Args:
            path: the file.
            to_write: claim the study for this process, and cut a torn last line off the file.

        Raises:
            UserError: there is no log, a line other than a torn last one is damaged, or another
                process has claimed the study.
        """
        journal = cls(path)
        if to_write:
            journal.claim()
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path}: there is no such study") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error})") from None
        whole, newline, torn = content.rpartition(b"\n")
        if torn and to_write:
            os.truncate(path, len(content) - len(torn))
        for number, line in enumerate(whole.split(b"\n") if newline else [], start=1):
            try:
                journal._fold(ADAPTER.validate_json(line))
            except (ValidationError, KeyError) as error:
                why = f"no such trial: {error}"
                if isinstance(error, ValidationError):
                    why = error.errors()[0]["msg"]
                raise UserError(
                    f"{path}: line {number} is damaged ({why}); restore the file from a backup, or "
                    f"remove the study"
                ) from None
        if not journal.events or not isinstance(journal.events[0], Opened):
            raise UserError(f"{path}: does not begin with the opening of a study; remove the study")
        return journal

    def claim(self) -> None:
        """Keep other processes from writing, until this one ends.

        Raises:
            UserError: another process has claimed the study.
        """
        try:
            self.lock = self.path.open("ab")
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.path}: another process is working on this study; wait for it or stop it"
            ) from None
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.path}: there is no such study") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error})") from None

    def is_claimed(self) -> bool:
        """Whether a process is at work on the study."""
        with self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
            except BlockingIOError:
                return True
        return False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"lock": None}  # Ray pickles all that a Tuner holds

    def close(self) -> None:
        """Give the claim back."""
        if self.lock is not None:
            self.lock.close()

    @property
    def opened(self) -> Opened:
        """The first line."""
        first = self.events[0]
        assert isinstance(first, Opened)
        return first

    @property
    def resumed(self) -> float:
        """When the process that works on the study opened it, in seconds since 1970."""
        return self.latest.time

    @property
    def space(self) -> dict[str, Any]:
        """The space that the study goes by; extending it has changed the one it began with."""
        return self.latest.space

    def append(self, event: Event) -> None:
        """Write the event to disk, then let everybody know.

        Raises:
            UserError: it cannot be written; the log is as it was before, and takes no more events:
                they could speak of one that is missing.
        """
        try:
            if self.broken is not None:
                raise self.broken
            self._write(event.model_dump_json().encode() + b"\n")
        except OSError as error:
            self.broken = UserError(
                f"{self.path}: cannot be written ({error.strerror or error}); nothing that it "
                f"holds is lost: put that right, and go on with --resume"
            )
            raise self.broken from error
        self._fold(event)
        for listener in self.listeners:
            listener(event)

    def _write(self, line: bytes) -> None:
        with self.path.open("r+b") as file:  # a log that was moved away is not begun anew
            end = file.seek(0, os.SEEK_END)
            try:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # a full disk: half a line would spoil the one after it
                os.truncate(self.path, end)
                raise

    def end(self, key: TrialId, outcome: Outcome, epochs: int = 0, detail: str = "") -> None:
        """Append the end of a trial, unless it has ended already."""
        if self.trials[key].end is None:
            arm, phase, number = key
            self.append(
                End(
                    arm=arm,
                    phase=phase,
                    number=number,
                    outcome=outcome,
                    epochs=epochs,
                    detail=detail,
                )
            )

    def of(self, arm: str, phase: Phase = "search") -> list[Trial]:
        """An arm's trials in the order of their numbers."""
        chosen = [t for t in self.trials.values() if (t.ask.arm, t.ask.phase) == (arm, phase)]
        return sorted(chosen, key=lambda trial: trial.ask.number)

    def top(self, arm: str, k: int) -> list[Trial]:
        """The arm's best k configurations by score at full length, the earlier one first in a tie.

        The score of params that were trained on several seeds is the mean over them.
        """
        seeds: dict[int, list[Trial]] = {}
        for trial in self.of(arm):
            if trial.outcome == "completed" and trial.reports:
                first = trial.ask.number if trial.ask.of is None else trial.ask.of
                seeds.setdefault(first, []).append(trial)
        ranked = sorted(seeds, key=lambda n: (-statistics.mean(t.score for t in seeds[n]), n))
        return [seeds[first][0] for first in ranked[:k]]

    def best(self, arm: str) -> Trial | None:
        """The arm's best configuration of the search."""
        return next(iter(self.top(arm, 1)), None)

    def unfinished(self, *phases: Phase) -> list[Trial]:
        """Trials of these phases that were started and have not ended."""
        return [t for t in self.trials.values() if t.end is None and t.ask.phase in phases]

    def epochs_spent(self, arm: str) -> int:
        """Epochs that an arm's search trials have trained, as far as known."""
        return sum(trial.epochs for trial in self.of(arm))

    def _fold(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case Opened():
                is_new = len(self.events) == 1 or event.space.get("budget") != self.space.get(
                    "budget"
                )
                self.is_searched = self.is_searched and not is_new
                self.latest = event
            case Ask():
                self.trials[event.key] = Trial(event)
                # Older logs do not say so. Published settings are trained before for --noise-floor.
                self.is_searched |= event.phase not in ("search", "published")
            case Report():
                self.trials[event.key].reports.append(event)
            case Retry():
                self.trials[event.key].retry = event
            case End():
                self.trials[event.key].end = event
            case Searched():
                self.is_searched = True
            case Unsealed():
                self.openings.append(event)
            case Scored():
                self.trials[event.key].tested = event
            case Pictured():
                self.pictures.append(event)
