"""What a search will cost, before it runs: `--dry-run`.

ASHA's shares tell how many trials there will be and how long they train; a measurement of each kind
of config tells what an epoch takes.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from search.preflight.packing import Node, at_once
from search.preflight.trial_cost import CannotRun, TrialCost
from search.space.resources import ConfigKind, Shares
from search.space.space import Space
from search.strategy.budget import pauses
from search.strategy.confirmation import planned_runs
from search.strategy.promotion import CHECKPOINTS
from supcon.config import Config
from supcon.images.split import Splits
from supcon.parsing import UserError

STARTS = 2  # of each worker: one for the search, one for what comes after it
LIFETIME = 3e9  # seconds: a century


@dataclass(frozen=True)
class Expected:
    """What one arm will do."""

    trials: int
    reach: tuple[int, ...]
    """Trials that are expected to reach each of the space's rungs."""
    epochs: int
    """Of all of its trials together."""
    evaluations: int


def expected(space: Space) -> Expected:
    """Trials, rungs and epochs of one arm, if ASHA lets exactly its share pass at each rung.

    Raises:
        UserError: the budget is time alone, which tells nothing before an epoch is timed.
    """
    rungs, asha = space.rungs, space.scheduler.asha
    shares = [1 / asha.reduction**i if asha else 1.0 for i in range(len(rungs))]
    lengths = [rung - before for rung, before in zip(rungs, (0, *rungs), strict=False)]
    mean_epochs = sum(share * length for share, length in zip(shares, lengths, strict=True))
    limits = []
    if space.budget.trials is not None:
        limits.append(space.budget.trials)
    if space.budget.total_epochs is not None:
        limits.append(math.ceil(space.budget.total_epochs / mean_epochs))
    if space.sampler == "points":
        limits.append(max(map(len, space.points.values()), default=0))
    if not _is_countable(space):
        raise UserError("--dry-run: needs budget.trials or budget.total_epochs, not time alone")
    trials = min(limits)
    reach = tuple(max(1, round(trials * share)) for share in shares)
    epochs = sum(n * length for n, length in zip(reach, lengths, strict=True))
    return Expected(trials, reach, epochs, sum(reach) + 2 * reach[-1])  # 3 weights at the end


def describe_forecast(
    space: Space,
    shares: Shares,
    data: Splits,
    all_costs: Sequence[TrialCost | CannotRun],
    nodes: Sequence[Node],
) -> list[str]:
    """The forecast for a person.

    Args:
        space: the search space.
        shares: what its trials take.
        data: its images.
        all_costs: its kinds of config.
        nodes: the machines that trials run on.
    """
    plan, epochs = expected(space), space.config.run.epochs
    costs = [each for each in all_costs if isinstance(each, TrialCost)]
    runs = planned_runs(space, list(space.arms), plan.reach[-1])
    views = len(data.train) * space.config.augment.views
    lines = ["", f"{'rung, epochs':>14s}{'trials an arm':>15s}"]
    lines += [f"{r:14d}{n:15d}" for r, n in zip(space.rungs, plan.reach, strict=True)]
    lines += [
        "",
        f"each arm  {plan.trials} trials, {plan.epochs} epochs, {plan.epochs * views:,} views to "
        f"search",
        f"then      {runs.total} runs on fresh seeds, each of {epochs * views:,} views: "
        f"{runs.pick} to pick winners, {runs.confirm} to confirm them, {runs.reference} of "
        f"references",
        "",
        f"{'kind':40s}{'epoch, s':>10s}{'evaluation, s':>15s}{'memory, MB':>12s}{'at once':>9s}",
    ]
    slots = {each: slots_for(shares, each.config, nodes) for each in costs}
    lines += [_row(each, slots) for each in all_costs]
    if not costs:
        return [*lines, "", "no kind of config can run here"]
    waiting = CHECKPOINTS * (len(space.rungs) - 1) * len(space.arms) if pauses(space) else 0
    disk = max(each.checkpoint * (slots[each] + waiting + runs.total) for each in costs)
    return [
        *lines,
        "",
        *describe_time(space, shares, all_costs, nodes),
        f"disk      {disk / 1e6:.0f} MB at most: a checkpoint of each running trial, "
        f"{'of the best that wait, ' if waiting else ''}and the models of the confirmation",
    ]


def describe_time(
    space: Space, shares: Shares, all_costs: Sequence[TrialCost | CannotRun], nodes: Sequence[Node]
) -> list[str]:
    """How long the search takes and when it ends, if that was measured and is not its budget.

    Args:
        space: the search space.
        shares: what its trials take.
        all_costs: its kinds of config.
        nodes: the machines that trials run on.
    """
    costs = [each for each in all_costs if isinstance(each, TrialCost)]
    if not costs or not _is_countable(space):
        return []
    seconds = [
        search_seconds(space, each) / _pace(each, slots_for(shares, each.config, nodes), nodes)
        + STARTS * each.start_seconds
        for each in costs
    ]
    middle = statistics.mean(seconds)
    until = "in no lifetime; lower the budget or run.epochs"
    if middle < LIFETIME:
        until = (
            f"about {datetime.fromtimestamp(time.time() + middle):%Y-%m-%d %H:%M}, if it starts now"
        )
    return [
        f"time      {_clock(middle)} h with kinds drawn evenly, {_clock(min(seconds))} to "
        f"{_clock(max(seconds))} h if the search prefers the fastest or the slowest; as if trials "
        f"did not slow each other down on the CPU, ASHA's first arrivals left out",
        f"ends      {until}",
    ]


def _pace(each: TrialCost, slots: int, nodes: Sequence[Node]) -> float:
    """How many trials' work is done at once: a GPU that one fills does no more for several."""
    if each.busy is None:
        return slots
    return min(slots, sum(node.gpus for node in nodes) / each.busy)


def _is_countable(space: Space) -> bool:
    """Whether something other than time limits the trials."""
    budget = space.budget
    return bool(budget.trials or budget.total_epochs or space.sampler == "points")


def slots_for(shares: Shares, config: Config, nodes: Sequence[Node]) -> int:
    """Trials of one kind that run at once.

    Raises:
        UserError: no machine has room for one.
    """
    slots = at_once(shares, config, nodes)
    if slots < 1:
        want = shares.of(config)
        raise UserError(
            f"--dry-run: no machine has room for a trial of {ConfigKind.of(config)}, which "
            f"takes cpu {want.cpu:g} and gpu {want.gpu:g}; set --cpus-per-trial and "
            f"--gpus-per-trial"
        )
    return slots


def _row(each: TrialCost | CannotRun, slots: dict[TrialCost, int]) -> str:
    name = f"{ConfigKind.of(each.config)!s:40s}"
    if isinstance(each, CannotRun):
        return f"{name}  cannot run: {each.reason}"
    times = f"{each.epoch_seconds:10.2f}{each.evaluation_seconds:15.2f}"
    return f"{name}{times}{each.memory / 1e6:12.0f}{slots[each]:9d}"


def _clock(seconds: float) -> str:
    """`3:07`, in hours and minutes, rounded up."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def search_seconds(space: Space, each: TrialCost) -> float:
    """What a whole study takes, one trial at a time, all of one kind.

    Args:
        space: of the study; something other than time limits its trials.
        each: the kind.
    """
    plan, arms = expected(space), len(space.arms)
    runs = planned_runs(space, list(space.arms), plan.reach[-1]).total
    training = (arms * plan.epochs + runs * space.config.run.epochs) * each.epoch_seconds
    evaluation = (arms * plan.evaluations + 3 * runs) * each.evaluation_seconds
    return training + evaluation
