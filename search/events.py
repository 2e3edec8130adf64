"""events.jsonl: the only state of a study, append-only, one JSON object a line.

A line is written and flushed before anything acts on it. Trials, rungs, samplers, the ledger and
the report are all read off the same list, live or after a restart: there is no second truth.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from search.space import Phase
from supcon.config import SELECTION_METRIC
from supcon.parsing import Section, UserError

Outcome = Literal["completed", "stopped", "infeasible", "diverged", "failed"]
Decision = Literal["continue", "stop", "done"]
TrialId = tuple[str, Phase, int]


class _Event(Section):
    time: float = Field(default_factory=lambda: round(time.time(), 3))
    """Seconds since 1970."""


class Opened(_Event):
    """A study was created (the first line) or resumed."""

    event: Literal["opened"] = "opened"
    study: str
    space: dict[str, Any]
    """As `search.space.parse_space` reads it."""
    commit: str
    versions: dict[str, str]


class _TrialEvent(_Event):
    arm: str
    phase: Phase
    number: int

    @property
    def trial(self) -> TrialId:
        """What tells trials apart."""
        return self.arm, self.phase, self.number


class Ask(_TrialEvent):
    """A trial was decided on."""

    event: Literal["ask"] = "ask"
    params: dict[str, Any]
    """Dotted config key -> drawn value."""
    seed: int
    of: int | None = None
    """For confirm: the number of the search trial whose params these are."""


class Report(_TrialEvent):
    """A trial reached an evaluated epoch, and what was decided about it."""

    event: Literal["report"] = "report"
    epoch: int
    metrics: dict[str, float]
    views: int
    seconds: float
    decision: Decision


class End(_TrialEvent):
    """A trial ended."""

    event: Literal["end"] = "end"
    outcome: Outcome
    detail: str = ""


class Unsealed(_TrialEvent):
    """The sealed test images were opened for a confirmed trial."""

    event: Literal["tested"] = "tested"
    metrics: dict[str, float]
    n_images: int
    correct: dict[str, str]
    """Classifier -> which images it got right: bits packed in image order, base64."""


Event = Annotated[Opened | Ask | Report | End | Unsealed, Field(discriminator="event")]
_ADAPTER: TypeAdapter[Opened | Ask | Report | End | Unsealed] = TypeAdapter(Event)


@dataclass
class Trial:
    """A trial as the log tells it."""

    ask: Ask
    reports: list[Report] = field(default_factory=list)
    end: End | None = None
    tested: Unsealed | None = None

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
    def epochs(self) -> int:
        """Epochs trained, as far as reported."""
        return self.reports[-1].epoch if self.reports else 0

    @property
    def score(self) -> float:
        """The selection metric of the last report; nan before the first."""
        return self.reports[-1].metrics[SELECTION_METRIC] if self.reports else float("nan")


class Journal:
    """The event log of a study, in a file and in memory."""

    def __init__(self, path: Path, events: Iterable[Any] = ()) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.events: list[Opened | Ask | Report | End | Unsealed] = []
        self.trials: dict[TrialId, Trial] = {}
        self.listeners: list[Callable[[Any], None]] = []
        for event in events:
            self._fold(event)

    @classmethod
    def create(cls, path: Path, opened: Opened) -> Journal:
        """Start a new log in a folder that does not exist yet."""
        path.parent.mkdir(parents=True)
        journal = cls(path)
        journal.append(opened)
        return journal

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read a log. A torn last line, left by a kill, is cut off the file.

        Raises:
            UserError: there is no log, or a line other than a torn last one is damaged.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such study") from None
        whole, newline, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(path, len(content) - len(torn))
        events = []
        for number, line in enumerate(whole.split(b"\n") if newline else [], start=1):
            try:
                events.append(_ADAPTER.validate_json(line))
            except ValidationError as error:
                raise UserError(
                    f"{path}: line {number} is damaged ({error.errors()[0]['msg']}); restore the "
                    f"file from a backup, or remove the study"
                ) from None
        if not events or not isinstance(events[0], Opened):
            raise UserError(f"{path}: does not begin with the opening of a study; remove the study")
        return cls(path, events)

    @property
    def opened(self) -> Opened:
        """The first line."""
        first = self.events[0]
        assert isinstance(first, Opened)
        return first

    def append(self, event: Opened | Ask | Report | End | Unsealed) -> None:
        """Write the event to disk, then let everybody know."""
        with self.path.open("ab") as file:
            file.write(event.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._fold(event)
        for listener in self.listeners:
            listener(event)

    def of(self, arm: str, phase: Phase = "search") -> list[Trial]:
        """An arm's trials in the order of their numbers."""
        chosen = [t for t in self.trials.values() if (t.ask.arm, t.ask.phase) == (arm, phase)]
        return sorted(chosen, key=lambda trial: trial.ask.number)

    def unfinished(self, phase: Phase) -> list[Trial]:
        """Trials of a phase that were started and have not ended."""
        return [t for t in self.trials.values() if t.end is None and t.ask.phase == phase]

    def epochs_spent(self, arm: str) -> int:
        """Epochs that an arm's search trials have reported."""
        return sum(trial.epochs for trial in self.of(arm))

    def _fold(self, event: Opened | Ask | Report | End | Unsealed) -> None:
        self.events.append(event)
        match event:
            case Ask():
                self.trials[event.trial] = Trial(event)
            case Report():
                self.trials[event.trial].reports.append(event)
            case End():
                self.trials[event.trial].end = event
            case Unsealed():
                self.trials[event.trial].tested = event
