"""A search of the product over a clock that is simulated: its order, suggester, rungs and budget
are real, and so is the log; what a trial scores comes from a `World`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.log.events import Ask, Decision, End, Event, Report, Started, TrialId
from search.log.journal import Journal
from search.log.study import Study
from search.space.space import Space
from search.strategy.search_order import SearchOrder
from search.strategy.stage import end_search
from tests.benchmarks.efficiency.surrogate import World

Decide = Callable[[Study, TrialId, int, float], Decision]
Order = Callable[[Study], SearchOrder]


class InMemory(Journal):
    """A log that lies nowhere."""

    def _append(self, event: Event) -> None:
        self.add(event)


def begun(space: Space) -> Study:
    """A study that lies nowhere, of which nothing was trained."""
    log = InMemory(Path("simulated/events.jsonl"))
    log.append(Started(study="x", space=space.dump(), commit="", versions={}, time=0.0))
    return Study(space, log)


def simulate(
    space: Space, worlds: Mapping[str, World], order_of: Order, decide: Decide, workers: int = 1
) -> Study:
    """Search until the budget is spent; the events carry the seconds of the simulated clock.

    Args:
        space: with the budget.
        worlds: arm -> what its trials score.
        order_of: what is trained next.
        decide: which go on at a rung.
        workers: trials at once.
    """
    study = begun(space)
    return _run(study, worlds, order_of(study), decide, workers)


def _run(
    study: Study, worlds: Mapping[str, World], order: SearchOrder, decide: Decide, workers: int
) -> Study:
    rungs, metric, now = study.space.rungs, study.space.selection_metric, 0.0
    scores: dict[TrialId, dict[int, float]] = {}
    seconds: dict[TrialId, float] = {}
    waiting: list[tuple[float, int, TrialId, int]] = []
    """When a trial reports, a number that breaks ties, which one, from which rung."""
    count = 0

    def train(key: TrialId, rung: int) -> None:
        nonlocal count
        count += 1
        epochs = rungs[rung] - (rungs[rung - 1] if rung else 0)
        heapq.heappush(waiting, (now + epochs * seconds[key], count, key, rung))

    while True:
        while len(waiting) < workers and (move := order()) is not None:
            study.log.append(move.model_copy(update={"time": now}))
            if isinstance(move, Ask):
                world = worlds[move.arm]
                scores[move.key] = world.scores(move.params, move.seed, rungs)
                seconds[move.key] = world.epoch_seconds(move.params)
            train(move.key, len(study.log.trials[move.key].reports))
        if not waiting:
            break
        now, _, key, rung = heapq.heappop(waiting)
        epoch, score, is_last = rungs[rung], scores[key][rungs[rung]], rung == len(rungs) - 1
        decision = "done" if is_last else decide(study, key, epoch, score)
        taken = epoch * seconds[key]
        _log(study, now, key, {metric: score}, epoch=epoch, seconds=taken, decision=decision)
        if decision == "continue":
            train(key, rung + 1)
    end_search(study)
    return study


def _log(
    study: Study,
    now: float,
    key: TrialId,
    metrics: dict[str, float],
    *,
    epoch: int,
    seconds: float,
    decision: Decision,
) -> None:
    """A report, and the end of the trial if that is what was decided."""
    arm, phase, number = key
    common: dict[str, Any] = {"time": now, "arm": arm, "phase": phase, "number": number}
    told = {"epoch": epoch, "metrics": metrics, "views": epoch, "seconds": seconds}
    study.log.append(Report(**common, **told, decision=decision))
    if decision in ("stop", "done"):
        outcome = "completed" if decision == "done" else "stopped"
        study.log.append(End(**common, outcome=outcome, epochs=epoch))
