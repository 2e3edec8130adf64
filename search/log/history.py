"""What has happened in a study, and what can be read off its events alone."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.log.events import (
    Ask,
    Audited,
    Compared,
    End,
    Event,
    Examined,
    Phase,
    Pictured,
    Promoted,
    Report,
    Retry,
    Searched,
    Slept,
    Started,
    Suspected,
    Tested,
    TrialId,
    Unsealed,
)
from search.log.expected import expected_scores
from search.log.remembered import remembered
from search.log.trial import NOTHING, Totals, Trial, totals
from search.space.resources import Footprint
from search.space.space import Budget
from supcon.config import TOP1


class History:
    """The events of a study, in the order in which they happened."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events: list[Event] = []
        self.trials: dict[TrialId, Trial] = {}
        self.starts: list[Started] = []
        """One for each process that has worked on it."""
        self.audited: Audited | None = None
        """What was found of the images; None: an older log."""
        self.openings: list[Unsealed] = []
        """Of the test images: the ledger."""
        self.pictures: list[Pictured] = []
        self.suspected: Suspected | None = None
        """Labels that are probably wrong, as found last."""
        self.compared: Compared | None = None
        """Test images that look like one of train, as found last."""
        self.first_step: float | None = None
        """When the first trial began to train, in seconds since 1970."""
        self.is_searched = False
        """Whether the search is over, as said since its budget was last changed."""
        self._of: dict[tuple[str, Phase], list[Trial]] = {}
        self._running: dict[TrialId, Trial] = {}
        self._paused: dict[TrialId, Trial] = {}
        self._pausing = set[str]()
        """Arms of which a trial has ever paused."""
        self._completed: dict[str, list[Trial]] = {}
        """Arm -> search trials that were trained to the end."""
        self._ended: dict[tuple[str, Phase], Totals] = {}
        self._earlier_seconds = 0.0
        self._slept_seconds = 0.0
        """Since the latest opening."""
        self._known: dict[Any, Any] = {}
        for event in events:
            self.add(event)

    def known(self) -> dict[Any, Any]:
        """What was found since the last event."""
        return self._known

    @property
    def started(self) -> Started:
        """The first event."""
        return self.starts[0]

    @property
    def latest(self) -> Started:
        """What the process that works on the study has opened it with."""
        return self.starts[-1]

    @property
    def resumed(self) -> float:
        """When the process that works on the study opened it, in seconds since 1970."""
        return self.latest.time

    @property
    def measured(self) -> tuple[Footprint, ...]:
        """What each kind of config takes, if that was measured."""
        return self.latest.measured

    @property
    def active_seconds(self) -> float:
        """How long the processes that wrote it ran, from the start of each to its last event, and
        the machine was awake.
        """
        ran = self.events[-1].time - self.latest.time
        return self._earlier_seconds + ran - self._slept_seconds

    def of(self, arm: str, phase: Phase = "search") -> Sequence[Trial]:
        """An arm's trials in the order of their numbers; it grows with the log."""
        return self._of.get((arm, phase), ())

    @remembered
    def totals(self, arm: str, phase: Phase = "search") -> Totals:
        """What an arm's trials have come to."""
        open_ones = self.running(arm, phase) + (self.paused(arm) if phase == "search" else [])
        return totals(open_ones, self._ended.get((arm, phase), NOTHING))

    @property
    def epochs(self) -> int:
        """That all trials have trained, as far as known."""
        return sum(self.totals(arm, phase).epochs for arm, phase in self._of)

    @remembered
    def n_tested(self) -> int:
        """Runs that were scored on the test images."""
        return sum(trial.tested is not None for trial in self.trials.values())

    def top(self, arm: str, k: int) -> Sequence[Trial]:
        """The arm's best k configurations by score at full length, the earlier one first in a tie;
        where trials pause, by what they may be expected to score there.

        The score of params that were trained on several seeds is the mean over them.
        """
        return self._ranked(arm)[:k]

    @remembered
    def expected(self, arm: str) -> Mapping[int, float]:
        """Number -> what a search trial scored at full length or, where trials pause, may be
        expected to.
        """
        if arm in self._pausing:
            return expected_scores(self.of(arm))
        return {trial.ask.number: trial.score for trial in self._completed.get(arm, ())}

    @remembered
    def _ranked(self, arm: str) -> Sequence[Trial]:
        expected, seeds = self.expected(arm), dict[int, list[int]]()
        for number in expected:
            first = self.trials[arm, "search", number].ask.of
            seeds.setdefault(number if first is None else first, []).append(number)
        scores = {first: _mean([expected[n] for n in own]) for first, own in seeds.items()}
        ranked = sorted(seeds, key=lambda first: (-scores[first], first))
        return tuple(self.trials[arm, "search", seeds[first][0]] for first in ranked)

    def best(self, arm: str) -> Trial | None:
        """The arm's best configuration of the search."""
        return next(iter(self.top(arm, 1)), None)

    def unfinished(self, *phases: Phase) -> list[Trial]:
        """Trials of these phases that were started and have neither ended nor paused; without any,
        of all.
        """
        return [t for t in self._running.values() if not phases or t.ask.phase in phases]

    def running(self, arm: str, phase: Phase = "search") -> list[Trial]:
        """An arm's unfinished trials."""
        return [trial for trial in self.unfinished(phase) if trial.ask.arm == arm]

    def paused(self, arm: str) -> list[Trial]:
        """An arm's search trials that wait at a rung, in the order of their numbers."""
        own = [trial for trial in self._paused.values() if trial.ask.arm == arm]
        return sorted(own, key=lambda trial: trial.ask.number)

    def add(self, event: Event) -> None:
        """Take an event for true.

        Raises:
            KeyError: it is of a trial that was never asked for.
        """
        self._known = {}
        if isinstance(event, Started) and self.starts:
            self._earlier_seconds, self._slept_seconds = self.active_seconds, 0.0
        self.events.append(event)
        match event:
            case Started():
                is_new = not self.starts or _budget(event) != _budget(self.latest)
                self.is_searched = self.is_searched and not is_new
                self.starts.append(event)
            case Ask():
                metric = self.started.selection_metric if self.starts else TOP1
                trial = self.trials[event.key] = Trial(event, metric=metric)
                self._running[event.key] = trial
                runs = self._of.setdefault((event.arm, event.phase), [])
                bisect.insort(runs, trial, key=lambda run: run.ask.number)
                # Older logs do not say so. Published settings are trained before for --noise-floor.
                self.is_searched |= event.phase not in ("search", "published")
            case Report():
                trial = self.trials[event.key]
                if not trial.reports and event.first_step is not None:
                    self.first_step = min(event.first_step, self.first_step or event.first_step)
                trial.reports.append(event)
                if event.decision == "pause":
                    self._paused[event.key] = self._running.pop(event.key)
                    trial.is_paused = True
                    self._pausing.add(event.arm)
            case Promoted():
                trial = self._running[event.key] = self._paused.pop(event.key)
                trial.is_paused, trial.promoted = False, event.why
            case Retry():
                self.trials[event.key].retry = event
            case End():
                self._end(self.trials[event.key], event)
            case Audited():
                self.audited = event
            case Searched():
                self.is_searched = True
            case Slept():
                self._slept_seconds += event.seconds
            case Unsealed():
                self.openings.append(event)
            case Tested():
                self.trials[event.key].tested = event
            case Examined():
                self.trials[event.key].examined = event
            case Pictured():
                self.pictures.append(event)
            case Suspected():
                self.suspected = event
            case Compared():
                self.compared = event

    def _end(self, trial: Trial, end: End) -> None:
        if trial.end is not None:
            return
        self._running.pop(end.key, None)
        self._paused.pop(end.key, None)
        trial.end, trial.is_paused = end, False
        own = end.arm, end.phase
        self._ended[own] = totals([trial], self._ended.get(own, NOTHING))
        if end.phase == "search" and trial.is_completed and trial.reports:
            found = self._completed.setdefault(end.arm, [])
            bisect.insort(found, trial, key=lambda trial: trial.ask.number)


def _budget(started: Started) -> Budget:
    """What a study may spend; a log that is older than one of the limits has its default."""
    return Budget.model_validate(started.space.get("budget", {}))


def _mean(scores: list[float]) -> float:
    return scores[0] if len(scores) == 1 else statistics.mean(scores)  # which is slow
