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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from search.space.resources import Footprint, class_of, name_of
from search.space.space import Space
from supcon.config import Config
from supcon.images.memory import free_memory
from supcon.images.split import Splits
from supcon.parsing import one_line
from supcon.recipe.optim import set_lr
from supcon.train import Run

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
    """Each class of configs, one after the other; a line is printed about each."""
    found: list[Probed | Unable] = []
    for config in classes(space):
        try:
            found.append(run(config))
        except (RuntimeError, MemoryError) as error:
            found.append(Unable(config, one_line(error)))
        print(f"probe     {describe_probe(found[-1])}", flush=True)
    return found


def describe_probe(each: Probed | Unable) -> str:
    """What was found about a class, for a person."""
    name = name_of(class_of(each.config))
    if isinstance(each, Unable):
        return f"{name}: cannot run: {each.reason}"
    return f"{name}: {describe_cost(each)}"


def describe_cost(each: Probed | Footprint) -> str:
    """What a trial of a class takes, for a person."""
    return f"{each.memory / 2**30:.2f} GiB, {each.views_per_second:,.0f} views/s alone"


def probe_here(data: Splits) -> Runner:
    """Probes on this machine."""

    def run(config: Config) -> Probed:
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send_probe, args=(sender, config, data))
        process.start()
        sender.close()
        try:
            found: Probed | Exception = receiver.recv()
        except EOFError:
            raise RuntimeError("its process was killed, as for lack of memory") from None
        finally:
            process.kill()  # also on Ctrl-C, before it has sent anything
            process.join()
        if isinstance(found, Exception):
            raise found
        return found

    return run


def _send_probe(sender: Connection, config: Config, data: Splits) -> None:
    try:
        sender.send(probe_config(config, data))
    except Exception as error:  # what it was, is for the process that asked
        sender.send(RuntimeError(one_line(error)))


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
