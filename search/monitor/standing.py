"""Where a search stands, from its event log alone: what the live view and search/status.py show.

Plain values: nothing here imports ray or torch, prints or writes.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from search.log.events import Report
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.budget import most_trials
from search.strategy.confirmation import planned_runs, seed_runs
from search.strategy.giving_up import gave_up_over, hopeful_arms
from search.strategy.in_vain import summary_of
from search.strategy.stage import Stage, open_arms, stage
from search.strategy.winners import candidates, leader, published_runs, winner

LATE = 5.0  # times the usual time between two reports, after which a trial is marked
MIN_PATIENCE = 30.0  # seconds; a worker's cold start takes ten
MIN_ENDED = 3  # trials that have ended before a pace is told


@dataclass(frozen=True)
class Best:
    """The best trial of an arm's search, as far as can be told; once it is picked, the winner."""

    name: str
    score: float
    """In the search."""
    params: dict[str, Any]
    is_winner: bool
    early: int | None = None
    """Epochs after which it has that score; None: at full length."""


@dataclass(frozen=True)
class ArmStanding:
    """What an arm's search has come to."""

    name: str
    started: int
    running: int
    outcomes: dict[str, int]
    """How many trials ended in which way."""
    epochs: int
    most_epochs: int | None
    most_trials: int | None
    is_open: bool
    """Whether it may start another trial."""
    gave_up: str
    """Over trials that ended how, if it gave up; else empty."""
    best: Best | None


@dataclass(frozen=True)
class Running:
    """A trial that was started and has not ended."""

    name: str
    params: dict[str, Any]
    epoch: int
    """Of its last report; 0 before the first."""
    epochs: int
    scores: tuple[float, ...]
    has_collapsed: bool
    """Whether the features of all images, or those of whole classes, were equal at its last report;
    which, its line says."""
    rungs: tuple[int, int] | None
    """How many it has passed, and how many there are; None where nothing stops it."""
    views_per_second: float | None
    memory: int | None
    """Bytes reserved on its GPU."""
    silent: float
    """Seconds since its last report, or since its start."""
    patience: float | None
    """Seconds of silence after which something is wrong; None: not known."""
    is_retry: bool
    """It ran out of memory, and has a second chance alone."""

    @property
    def is_late(self) -> bool:
        """Whether it has been silent for far longer than its pace explains."""
        return self.patience is not None and self.silent > self.patience


@dataclass(frozen=True)
class Step:
    """Runs of one kind after the search."""

    what: str
    ended: int
    planned: int


@dataclass(frozen=True)
class Standing:
    """Where a search stands at one moment."""

    study: str
    is_at_work: bool
    """Whether a process has claimed the study."""
    stage: Stage
    arms: tuple[ArmStanding, ...]
    running: tuple[Running, ...]
    steps: tuple[Step, ...]
    openings: tuple[str, ...]
    """Of the test images: for what."""
    n_tested: int
    elapsed: float
    """Seconds in which a process was at work on it."""
    limit: float | None
    left: float | None
    """About so many seconds are left, by the pace so far; None: not known."""


def standing(study: Study, now: float, *, is_at_work: bool = True) -> Standing:
    """Where a search stands.

    Args:
        study: the study.
        now: seconds since 1970.
        is_at_work: whether a process has claimed the study.
    """
    elapsed = study.log.active_seconds
    if is_at_work:
        elapsed += max(0.0, now - study.log.events[-1].time)
    return Standing(
        study=study.name,
        is_at_work=is_at_work,
        stage=stage(study, elapsed),
        arms=tuple(_arm(study, arm) for arm in study.arms),
        running=tuple(_running(study, trial, now) for trial in study.log.unfinished()),
        steps=_steps(study),
        openings=tuple(f"{opening.arm} {opening.phase}" for opening in study.log.openings),
        n_tested=study.log.n_tested(),
        elapsed=elapsed,
        limit=study.space.budget.time,
        left=_seconds_left(study, elapsed),
    )


@remembered
def _arm(study: Study, arm: str) -> ArmStanding:
    found = study.log.totals(arm)
    won = winner(study, arm) if study.log.is_searched else None
    top = won or leader(study, arm)
    ended = {name: n for name, n in sorted(found.endings.items()) if name != "unfinished"}
    return ArmStanding(
        name=arm,
        started=found.trials,
        running=found.endings.get("unfinished", 0),
        outcomes=ended,
        epochs=found.epochs,
        most_epochs=study.space.budget.total_epochs,
        most_trials=most_trials(study.space, arm),
        is_open=arm in open_arms(study),
        gave_up=summary_of(gave_up_over(study, arm)),
        best=None if top is None else _best(top, won is not None),
    )


def _best(trial: Trial, is_winner: bool) -> Best:
    early = None if trial.is_completed else trial.epochs
    return Best(trial.name, trial.score, trial.ask.params, is_winner, early)


@remembered
def _steps(study: Study) -> tuple[Step, ...]:
    """The runs after the search; during it, as many as there will be if all goes well."""
    arms, n_candidates = hopeful_arms(study), study.space.confirm.top
    known = published_runs(study.space, arms)
    if study.log.is_searched:  # else no more is known, and a thousand trials are not ranked
        n_candidates = max(len(candidates(study, arm)) for arm in study.arms)
        known = seed_runs(study)
    planned, ended = planned_runs(study.space, arms, n_candidates), Counter[str]()
    for each in known:
        ended[each.phase] += sum(run.end is not None for run in each.runs(study))
    steps = (
        Step("pick", ended["pick"], planned.pick),
        Step("confirm", ended["confirm"], planned.confirm),
        Step("references", ended["published"] + ended["one_view"], planned.reference),
    )
    return tuple(step for step in steps if step.planned)


def _running(study: Study, trial: Trial, now: float) -> Running:
    """A trial that has not ended."""
    last = trial.last
    rungs = study.space.rungs[:-1] if trial.ask.phase == "search" else ()
    usual = _first_report_after(study) if last is None else _until_next(study, trial, last)
    heard = max(study.log.resumed, trial.ask.time if last is None else last.time)
    return Running(
        name=trial.name,
        params=trial.ask.changes,
        epoch=trial.epochs,
        epochs=study.length_of(trial.ask),
        scores=tuple(trial.scores.values()),
        has_collapsed=bool(trial.collapse),
        rungs=(sum(rung <= trial.epochs for rung in rungs), len(rungs)) if rungs else None,
        views_per_second=trial.views_per_second,
        memory=last.memory if last else None,
        silent=max(0.0, now - heard),
        patience=None if usual is None else max(MIN_PATIENCE, LATE * usual),
        is_retry=trial.retry is not None,
    )


def _until_next(study: Study, trial: Trial, last: Report) -> float:
    """Seconds between a trial's last report and its next, by its own pace."""
    later = (epoch for epoch in study.evaluated_at(trial.ask) if epoch > last.epoch)
    after = next(later, last.epoch + 1)
    evaluation = last.evaluation_seconds / len(trial.reports)
    return evaluation + (after - last.epoch) * last.seconds / max(1, last.epoch)


@remembered
def _first_report_after(study: Study) -> float | None:
    """Seconds from a trial's start to its first report, in the median; None before any."""
    found = [t.reports[0].time - t.ask.time for t in study.log.trials.values() if t.reports]
    return statistics.median(found) if found else None


def _seconds_left(study: Study, elapsed: float) -> float | None:
    """By the epochs that are left and the pace so far, and never beyond the limit."""
    limit = [] if study.space.budget.time is None else [max(0.0, study.space.budget.time - elapsed)]
    to_train = _epochs_left(study)
    if to_train is not None:
        limit.append((elapsed - _cold_start(study)) * to_train / study.log.epochs)
    return min(limit, default=None)


@remembered
def _epochs_left(study: Study) -> float | None:
    """Epochs that the study will still train; None: not known, or too few trials have ended to
    tell a pace.
    """
    n_ended = len(study.log.trials) - len(study.log.unfinished())
    running = study.log.unfinished("search")
    to_search = [
        _epochs_to_search(_arm(study, arm), [t for t in running if t.ask.arm == arm])
        for arm in study.arms
    ]
    known = [epochs for epochs in to_search if epochs is not None]
    if len(known) < len(to_search) or n_ended < MIN_ENDED:
        return None
    runs = sum(max(0, step.planned - step.ended) for step in _steps(study))
    return sum(known) + runs * study.space.config.run.epochs


def _cold_start(study: Study) -> float:
    """Seconds before the first trial began to train: they tell nothing of the pace."""
    opened = study.log.started.time
    return (study.log.first_step or opened) - opened


def _epochs_to_search(arm: ArmStanding, running: Iterable[Trial]) -> float | None:
    """Epochs that an arm's search will still train, if trials go on as they did."""
    if not (arm.is_open or arm.running):
        return 0.0
    limits = [] if arm.most_epochs is None else [float(arm.most_epochs - arm.epochs)]
    n_ended = arm.started - arm.running
    if arm.most_trials is not None and n_ended:
        length = (arm.epochs - sum(trial.epochs for trial in running)) / n_ended
        limits.append(arm.most_trials * length - arm.epochs)
    return max(0.0, min(limits)) if limits else None
