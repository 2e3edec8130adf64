"""What a search will cost, before it runs: `--dry-run`.

ASHA's shares tell how many trials there will be and how long they train; a probe of a few steps and
one evaluation for each backbone and batch size tells what an epoch takes.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from search.confirm import planned_runs
from search.space import Space
from supcon.config import Config
from supcon.data import Splits
from supcon.optim import set_lr
from supcon.parsing import UserError, one_line
from supcon.train import Diverged, Run

STEPS = 20
CLASS_KEYS = ("model.backbone", "data.batch_size")  # what an epoch's time and memory depend on most


@dataclass(frozen=True)
class Expected:
    """What one arm will do."""

    trials: int
    reach: tuple[int, ...]
    """Trials that are expected to reach each of the space's rungs."""
    epochs: int
    """Of all of its trials together."""
    evaluations: int


@dataclass(frozen=True)
class Probed:
    """What a class of configs costs, all else as in the base."""

    params: dict[str, Any]
    epoch_seconds: float
    evaluation_seconds: float
    memory: int
    """Bytes: on a GPU the most that was allocated there, else the most that the process had."""
    checkpoint: int
    """Bytes."""


@dataclass(frozen=True)
class Unable:
    """A class of configs that cannot run here."""

    params: dict[str, Any]
    reason: str


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
    if not limits:
        raise UserError("--dry-run: needs budget.trials or budget.total_epochs, not time alone")
    trials = min(limits)
    reach = tuple(max(1, round(trials * share)) for share in shares)
    epochs = sum(n * length for n, length in zip(reach, lengths, strict=True))
    return Expected(trials, reach, epochs, sum(reach) + 2 * reach[-1])  # 3 weights at the end


def classes(space: Space) -> Iterator[dict[str, Any]]:
    """Each combination of a drawn backbone and batch size."""
    drawn = space.arm_params(next(iter(space.arms)))
    choices = []
    for key in (key for key in CLASS_KEYS if key in drawn):
        kind, values = drawn[key].kind, drawn[key].values
        if kind == "pow2":
            low, high = (value.bit_length() - 1 for value in values)
            values = tuple(1 << exponent for exponent in range(low, high + 1))
        choices.append([(key, value) for value in values])
    for combination in itertools.product(*choices):
        yield dict(combination)


def probe(space: Space, data: Splits) -> list[Probed | Unable]:
    """Each class of configs in a process of its own, one after the other."""
    arm = next(iter(space.arms))
    found: list[Probed | Unable] = []
    for params in classes(space):
        config = space.trial_config(arm, params, seed=0)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            try:
                found.append(pool.submit(_probe, config, data, params).result())
            except (
                RuntimeError,
                MemoryError,
                Diverged,
                UserError,
            ) as error:  # also if the process was killed
                found.append(Unable(params, one_line(error)))
    return found


def _probe(config: Config, data: Splits, params: dict[str, Any]) -> Probed:
    run = Run(config, data)
    seconds = _seconds_a_step(run)
    run.epoch = 1
    started = time.perf_counter()
    run.evaluate()
    evaluation = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        run.save(Path(folder) / "last.pt")
        checkpoint = (Path(folder) / "last.pt").stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if run.device.type == "cuda":
        memory = torch.cuda.max_memory_reserved(run.device)
    return Probed(params, seconds * run.steps_per_epoch, evaluation, memory, checkpoint)


def _seconds_a_step(run: Run) -> float:
    """Median of a few steps, the first ones left out."""
    times = []
    batches = itertools.chain.from_iterable(run.loader(epoch) for epoch in itertools.count(1))
    for images, labels in itertools.islice(batches, STEPS):
        started = time.perf_counter()
        set_lr(run.optimizer, 0, 0)  # without a warm-up, the full one could diverge
        run.step(images, labels)
        if run.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[len(times) // 4 :])


def describe_forecast(space: Space, data: Splits, slots: int) -> list[str]:
    """The forecast for a person."""
    plan, all_probed, epochs = expected(space), probe(space, data), space.config.run.epochs
    probed = [each for each in all_probed if isinstance(each, Probed)]
    runs, arms = planned_runs(space, plan.reach[-1]), len(space.arms)
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
        f"{'class':44s}{'epoch, s':>10s}{'evaluation, s':>15s}{'memory, MB':>12s}",
    ]
    lines += [_row(each) for each in all_probed]
    if not probed:
        return [*lines, "", "no class can run here"]
    seconds = [_seconds(plan, each, arms, runs.total, epochs) / slots for each in probed]
    middle = statistics.mean(seconds)
    until = datetime.fromtimestamp(time.time() + middle)
    disk = max(each.checkpoint for each in probed) * (slots + runs.total)
    return [
        *lines,
        "",
        f"time      {_clock(middle)} h with classes drawn evenly, {_clock(min(seconds))} to "
        f"{_clock(max(seconds))} h if the search prefers the fastest or the slowest; {slots} at "
        f"once that do not slow each other down, starts and ASHA's first arrivals left out",
        f"ends      about {until:%Y-%m-%d %H:%M}, if it starts now",
        f"disk      {disk / 1e6:.0f} MB at most: a checkpoint of each running trial, and the "
        f"models of the confirmation",
    ]


def _row(each: Probed | Unable) -> str:
    name = ", ".join(f"{key.split('.')[1]} {value}" for key, value in each.params.items())
    if isinstance(each, Unable):
        return f"{name or 'all trials':44s}  cannot run: {each.reason}"
    numbers = f"{each.epoch_seconds:10.2f}{each.evaluation_seconds:15.2f}{each.memory / 1e6:12.0f}"
    return f"{name or 'all trials':44s}{numbers}"


def _clock(seconds: float) -> str:
    """`3:07`, in hours and minutes, rounded up."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def _seconds(plan: Expected, each: Probed, arms: int, runs: int, epochs: int) -> float:
    """Of one trial at a time, all of one class."""
    training = (arms * plan.epochs + runs * epochs) * each.epoch_seconds
    evaluation = (arms * plan.evaluations + 3 * runs) * each.evaluation_seconds
    return training + evaluation
