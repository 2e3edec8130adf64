"""What a trial of each class of configs costs: a few steps and one evaluation of it, timed.

A class is a backbone, a batch size and a precision; all else is as in the base.
"""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from search.resources import Footprint, class_of, trials_at_once
from search.space import Space
from supcon.config import Config
from supcon.data import Splits, free_memory
from supcon.optim import set_lr
from supcon.parsing import UserError, one_line
from supcon.train import Diverged, Run

STEPS = 20
CLASS_KEYS = ("model.backbone", "data.batch_size", "run.precision")


@dataclass(frozen=True)
class Probed:
    """What a class of configs costs."""

    config: Config
    epoch_seconds: float
    evaluation_seconds: float
    views_per_second: float
    memory: int
    """Bytes: on a GPU the most that was reserved there, else the most that the process had."""
    capacity: int
    """Bytes of the GPU, else those of this machine that were free before."""
    checkpoint: int
    """Bytes."""


@dataclass(frozen=True)
class Unable:
    """A class of configs that cannot run here."""

    config: Config
    reason: str


Runner = Callable[[Config], Probed]
"""Probes a config in a process of its own."""


def classes(space: Space) -> Iterator[Config]:
    """A config for each class that trials of the space can be of."""
    found = set()
    for arm in space.arms:
        drawn = space.arm_params(arm)
        choices = []
        for key in (key for key in CLASS_KEYS if key in drawn):
            kind, values = drawn[key].kind, drawn[key].values
            if kind == "pow2":
                low, high = (value.bit_length() - 1 for value in values)
                values = tuple(1 << exponent for exponent in range(low, high + 1))
            choices.append([(key, value) for value in values])
        for combination in itertools.product(*choices):
            config = space.trial_config(arm, dict(combination), seed=0)
            if class_of(config) not in found:
                yield config
            found.add(class_of(config))


def probe(space: Space, run: Runner) -> list[Probed | Unable]:
    """Each class of configs, one after the other."""
    found: list[Probed | Unable] = []
    for config in classes(space):
        try:
            found.append(run(config))
        except (RuntimeError, MemoryError, Diverged, UserError) as error:  # also if it was killed
            found.append(Unable(config, one_line(error)))
    return found


def probe_here(data: Splits) -> Runner:
    """Probes on this machine."""

    def run(config: Config) -> Probed:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(probe_config, config, data).result()

    return run


def probe_config(config: Config, data: Splits) -> Probed:
    """What a trial costs, measured in this process, which must be new: memory is a peak."""
    capacity = free_memory()
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
        capacity = torch.cuda.get_device_properties(run.device).total_memory
    views = config.data.batch_size * config.augment.views
    return Probed(
        config=config,
        epoch_seconds=seconds * run.steps_per_epoch,
        evaluation_seconds=evaluation,
        views_per_second=views / seconds,
        memory=memory,
        capacity=capacity,
        checkpoint=checkpoint,
    )


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


def footprints(space: Space, probed: Sequence[Probed | Unable], cores: float) -> list[Footprint]:
    """The share of each class: the smallest 1/k that its memory allows.

    Where the number of cores of a trial is given, the cores of a GPU allow no more than so many
    trials either, and each takes what it can use.

    Args:
        space: whose resources are `auto`.
        probed: what was measured.
        cores: CPU cores for each GPU, or of the machine where none is used.
    """
    want, found = space.resources, []
    on_gpu = want.gpu != 0
    for each in probed:
        if isinstance(each, Unable):
            continue
        most = cores if want.cpu == "auto" else cores / want.cpu
        k = trials_at_once(each.memory, each.capacity, on_gpu=on_gpu)
        k = max(1, min(k, int(most)))
        backbone, batch_size, precision = class_of(each.config)
        found.append(
            Footprint(
                backbone=backbone,
                batch_size=batch_size,
                precision=precision,
                memory=each.memory,
                views_per_second=round(each.views_per_second, 1),
                cpu=_part(cores, k) if on_gpu else max(1, cores // k),
                gpu=_part(1, k) if on_gpu else 0,
            )
        )
    return found


def _part(whole: float, k: int) -> float:
    """A k-th in Ray's resolution, never more: k of them must fit into the whole."""
    return int(10_000 * whole / k) / 10_000
