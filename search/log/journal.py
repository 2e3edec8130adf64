"""events.jsonl: the only state of a study, append-only, one JSON object a line.

A line is written and flushed before anything acts on it. Trials, rungs, samplers, the ledger and
the report are all read off the same list, live or after a restart: there is no second truth.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from search.log.events import ADAPTER, End, Event, Outcome, Slept, Started, TrialId
from search.log.history import History
from supcon.parsing import UserError

SLEEP_SECONDS = 30.0
"""By which the clock on the wall runs ahead before the machine is said to have slept."""


class Journal(History):
    """The event log of a study, in a file and in memory."""

    def __init__(self, path: Path) -> None:
        """An empty log; use `create` or `open`."""
        super().__init__()
        self.path = path
        self.listeners: list[Callable[[Event], None]] = []
        self.lock: BinaryIO | None = None
        self.broken: UserError | None = None
        self.ahead = _wall_ahead()
        """At the latest event."""
        self.mutex = threading.RLock()
        """Held while events are appended; other threads that read take it, too."""

    @classmethod
    def create(cls, path: Path, opened: Started) -> Journal:
        """Start a new log, to be written by this process, in a folder that does not exist yet.

        The folder appears with its first event in it: who is killed here leaves no half of a study.
        """
        if path.parent.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path.parent))
        new = path.parent.with_name(f".{path.parent.name}.{os.getpid()}")
        journal = cls(new / path.name)
        try:
            new.mkdir(parents=True)
            journal.path.touch()
            journal.claim()
            journal.append(opened)
            new.rename(path.parent)
        except BaseException:
            journal.close()
            shutil.rmtree(new, ignore_errors=True)
            raise
        journal.path = path
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
                journal.add(ADAPTER.validate_json(line))
            except (ValidationError, KeyError) as error:
                why = f"no such trial: {error}"
                if isinstance(error, ValidationError):
                    why = error.errors()[0]["msg"]
                raise UserError(
                    f"{path}: line {number} is damaged ({why}); restore the file from a backup, or "
                    f"remove the study"
                ) from None
        if not journal.events or not isinstance(journal.events[0], Started):
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

    def close(self) -> None:
        """Give the claim back."""
        if self.lock is not None:
            self.lock.close()

    def append(self, event: Event) -> None:
        """Write the event to disk, then let everybody know.

        Raises:
            UserError: it cannot be written; the log is as it was before, and takes no more events:
                they could speak of one that is missing.
        """
        with self.mutex:
            self._append(event)

    def _append(self, event: Event) -> None:
        if self.broken is not None:
            raise self.broken
        before, self.ahead = self.ahead, _wall_ahead()
        slept = self.ahead - before
        if not isinstance(event, Started) and abs(slept) > SLEEP_SECONDS:
            self._append(Slept(time=event.time, seconds=round(slept, 3)))
        try:
            self._write(event.model_dump_json().encode() + b"\n")
        except OSError as error:
            self.broken = UserError(
                f"{self.path}: cannot be written ({error.strerror or error}); nothing that it "
                f"holds is lost: put that right, and go on with --resume"
            )
            raise self.broken from error
        self.add(event)
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


def _wall_ahead() -> float:
    """Seconds from a clock that stands still while the machine sleeps to that on the wall."""
    return time.time() - time.monotonic()  # on Linux and macOS; elsewhere sleep counts as work
