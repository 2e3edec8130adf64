"""Where a search stands, from its event log alone: what the live view and search/status.py show.

Plain values: nothing here imports ray or torch, prints or writes.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from search.log.events import FINAL
from search.log.journal import Journal, Trial
from search.space.space import Space
from search.strategy.budget import may_start, most_trials
from search.strategy.confirmation import ConfirmPlan, planned_runs
from search.strategy.stage import Stage
from search.strategy.time_limit import active_seconds
from search.strategy.winners import published_rows, winner

LATE = 5.0  # times the usual time between two reports, after which a trial is marked
MIN_PATIENCE = 30.0  # seconds; a worker's cold start takes ten
MIN_ENDED = 3  # trials that have ended before a pace is told


@dataclass(frozen=True)
class Best:
    """The best trial of an arm's search at full length; once it is picked, the winner."""

    name: str
    score: float
    """In the search."""
    params: dict[str, Any]
    is_winner: bool


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


def standing(space: Space, journal: Journal, now: float, *, is_at_work: bool = True) -> Standing:
    """Where a search stands.

    Args:
        space: what is searched.
        journal: the log.
        now: seconds since 1970.
        is_at_work: whether a process has claimed the study.
    """
    elapsed = active_seconds(journal)
    if is_at_work:
        elapsed += max(0.0, now - journal.events[-1].time)
    plan, unfinished = ConfirmPlan(space, journal), _unfinished(journal)
    arms = tuple(_arm(space, journal, arm) for arm in space.arms)
    steps = _steps(space, journal, plan)
    first = _first_report_after(journal) if unfinished else None
    return Standing(
        study=journal.path.parent.name,
        is_at_work=is_at_work,
        stage=_stage(space, journal, plan, arms, elapsed),
        arms=arms,
        running=tuple(_running(space, journal, trial, now, first) for trial in unfinished),
        steps=steps,
        openings=tuple(f"{opening.arm} {opening.phase}" for opening in journal.openings),
        n_tested=sum(trial.tested is not None for trial in journal.trials.values()),
        elapsed=elapsed,
        limit=space.budget.time,
        left=_seconds_left(space, journal, arms, steps, elapsed),
    )


def _unfinished(journal: Journal) -> list[Trial]:
    return [trial for trial in journal.trials.values() if trial.end is None]


def _stage(
    space: Space, journal: Journal, plan: ConfirmPlan, arms: tuple[ArmStanding, ...], elapsed: float
) -> Stage:
    phases = {trial.ask.phase for trial in _unfinished(journal)}
    may_search = any(arm.is_open for arm in arms)
    if space.budget.time is None or elapsed < space.budget.time:
        if may_search and phases == {"published"}:
            return "noise floor"
        if may_search or "search" in phases:
            return "search"
        is_found = any(arm.best is not None for arm in arms)
        if (is_found and not journal.is_searched) or not plan.is_over():
            return "confirmation"
    final = [run for row in plan.rows() if row.phase in FINAL for run in row.completed(journal)]
    return "test" if any(run.tested is None for run in final) else "done"


def _arm(space: Space, journal: Journal, arm: str) -> ArmStanding:
    trials = journal.of(arm)
    won = winner(space, journal, arm) if journal.is_searched else None
    top = won or journal.best(arm)
    outcomes = Counter(trial.ending for trial in trials if trial.end is not None)
    return ArmStanding(
        name=arm,
        started=len(trials),
        running=len(trials) - outcomes.total(),
        outcomes=dict(sorted(outcomes.items())),
        epochs=sum(trial.epochs for trial in trials),
        most_epochs=space.budget.total_epochs,
        most_trials=most_trials(space, arm),
        is_open=not journal.is_searched and may_start(space, journal, arm),
        best=None if top is None else Best(top.name, top.score, top.ask.params, won is not None),
    )


def _steps(space: Space, journal: Journal, plan: ConfirmPlan) -> tuple[Step, ...]:
    """The runs after the search; during it, as many as there will be if all goes well."""
    candidates, rows = space.confirm.top, published_rows(space)
    if journal.is_searched:  # else no more is known, and a thousand trials are not ranked
        candidates = max(len(journal.top(arm, candidates)) for arm in space.arms)
        rows = plan.rows()
    planned, ended = planned_runs(space, candidates), Counter[str]()
    for row in rows:
        ended[row.phase] += sum(run.end is not None for run in row.runs(journal))
    steps = (
        Step("pick", ended["pick"], planned.pick),
        Step("confirm", ended["confirm"], planned.confirm),
        Step("references", ended["published"] + ended["one_view"], planned.reference),
    )
    return tuple(step for step in steps if step.planned)


def _running(
    space: Space, journal: Journal, trial: Trial, now: float, first: float | None
) -> Running:
    """A trial that has not ended; `first`: what `_first_report_after` says."""
    last, params = (trial.reports[-1] if trial.reports else None), trial.ask.params
    rungs = space.rungs[:-1] if trial.ask.phase == "search" else ()
    usual = first if last is None else _until_next(space, trial)
    heard = max(journal.resumed, trial.ask.time if last is None else last.time)
    return Running(
        name=trial.name,
        params=params,
        epoch=trial.epochs,
        epochs=params.get("run.epochs", space.config.run.epochs),
        scores=tuple(trial.scores.values()),
        rungs=(sum(rung <= trial.epochs for rung in rungs), len(rungs)) if rungs else None,
        views_per_second=last.views / last.seconds if last and last.seconds else None,
        memory=last.memory if last else None,
        silent=max(0.0, now - heard),
        patience=None if usual is None else max(MIN_PATIENCE, LATE * usual),
        is_retry=trial.retry is not None,
    )


def _until_next(space: Space, trial: Trial) -> float:
    """Seconds between a trial's last report and its next, by its own pace."""
    last = trial.reports[-1]
    evaluated = trial.ask.params.get("run.eval_at", space.rungs)
    after = next((epoch for epoch in evaluated if epoch > last.epoch), last.epoch + 1)
    evaluation = last.evaluation_seconds / len(trial.reports)
    return evaluation + (after - last.epoch) * last.seconds / last.epoch


def _first_report_after(journal: Journal) -> float | None:
    """Seconds from a trial's start to its first report, in the median; None before any."""
    found = [t.reports[0].time - t.ask.time for t in journal.trials.values() if t.reports]
    return statistics.median(found) if found else None


def _seconds_left(
    space: Space,
    journal: Journal,
    arms: tuple[ArmStanding, ...],
    steps: tuple[Step, ...],
    elapsed: float,
) -> float | None:
    """By the epochs that are left and the pace so far, and never beyond the limit."""
    limit = [] if space.budget.time is None else [max(0.0, space.budget.time - elapsed)]
    trials = journal.trials.values()
    to_search = [_epochs_left(arm, journal.of(arm.name)) for arm in arms]
    known = [epochs for epochs in to_search if epochs is not None]
    if len(known) == len(arms) and sum(t.end is not None for t in trials) >= MIN_ENDED:
        runs = sum(max(0, step.planned - step.ended) for step in steps)
        epochs = sum(known) + runs * space.config.run.epochs
        limit.append(_training_seconds(journal, elapsed) * epochs / sum(t.epochs for t in trials))
    return min(limit, default=None)


def _training_seconds(journal: Journal, elapsed: float) -> float:
    """Those since the first trial began to train: a cold start tells nothing of the pace."""
    steps = [t.reports[0].first_step for t in journal.trials.values() if t.reports]
    began = min((step for step in steps if step is not None), default=journal.opened.time)
    return elapsed - (began - journal.opened.time)


def _epochs_left(arm: ArmStanding, trials: list[Trial]) -> float | None:
    """Epochs that an arm's search will still train, if trials go on as they did."""
    if not (arm.is_open or arm.running):
        return 0.0
    limits = [] if arm.most_epochs is None else [float(arm.most_epochs - arm.epochs)]
    lengths = [trial.epochs for trial in trials if trial.end is not None]
    if arm.most_trials is not None and lengths:
        limits.append(arm.most_trials * statistics.mean(lengths) - arm.epochs)
    return max(0.0, min(limits)) if limits else None
