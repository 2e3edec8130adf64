"""What a trial of each kind of config costs: a few steps and one evaluation of it, timed.

A kind is a backbone, a batch size, a precision and a way to get by with memory; all else is as in
the base.
"""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from search.preflight.step_cost import cost_of_step
from search.space.resources import ConfigKind, Footprint
from search.space.space import Space
from supcon.config import Config, override
from supcon.images.split import Split, Splits
from supcon.machine import free_memory
from supcon.network.device import check_gpu, pick_device, seconds_of
from supcon.parsing import one_line
from supcon.step_memory import modes
from supcon.train import Run

EVALUATION_SECONDS = 15.0  # of images that are looked at, if all would take longer
LEAST_IMAGES = 64  # of either split
FORWARD = 3  # times as many images a second pass a network as can be trained on
END_SECONDS = 10.0
RESERVE = 2**29
"""Bytes of a GPU that are left to others: a desktop, a monitor, what CUDA does not tell of."""
STATM = Path("/proc/self/statm")
KIND_KEYS = ("model.backbone", "data.batch_size", "run.precision")


@dataclass(frozen=True)
class TrialCost:
    """What a kind of config costs."""

    config: Config
    epoch_seconds: float
    evaluation_seconds: float
    views_per_second: float
    memory: int
    """Bytes: on a GPU the most that was reserved there, else the most that the process had."""
    capacity: int
    """Bytes that were free before: of the GPU, less a reserve, else of this machine."""
    checkpoint: int
    """Bytes."""
    usable: float = 1.0
    """The capacity as a part of all memory of the GPU."""
    busy: float | None = None
    """Part of a step in which the GPU computes; the rest, it waits."""
    start_seconds: float = 0.0
    """From the start of a process to the end of its first step."""

    def __str__(self) -> str:
        return f"{ConfigKind.of(self.config)}: {describe_cost(self)}"


@dataclass(frozen=True)
class CannotRun:
    """A kind of config that cannot run here."""

    config: Config
    reason: str

    def __str__(self) -> str:
        return f"{ConfigKind.of(self.config)}: cannot run: {self.reason}"


Runner = Callable[[Config], TrialCost]
"""Measures a config in a process of its own."""


def kinds(space: Space) -> Iterator[Config]:
    """A config for each kind that trials of the space can be of."""
    found = set()
    for arm in space.arms:
        drawn = space.arm_params(arm)
        choices = []
        for key in (key for key in KIND_KEYS if key in drawn):
            values = drawn[key].powers if drawn[key].kind == "pow2" else drawn[key].values
            choices.append([(key, value) for value in values])
        for combination in itertools.product(*choices):
            config = space.trial_config(arm, dict(combination), seed=0)
            if ConfigKind.of(config) not in found:
                yield config
            found.add(ConfigKind.of(config))


def measure_costs(space: Space, run: Runner) -> list[TrialCost | CannotRun]:
    """Each kind of config, one after the other; a line is printed about each.

    Where `run.memory` is auto, its modes are tried in turn: the first that runs is what it becomes.
    """
    found: list[TrialCost | CannotRun] = []
    for config in kinds(space):
        found.append(_measure(config, run))
        print(f"cost      {found[-1]}", flush=True)
    return found


def _measure(config: Config, run: Runner) -> TrialCost | CannotRun:
    reasons = []
    for mode in modes(config):
        try:
            return run(override(config, {"run.memory": mode}))
        except (RuntimeError, MemoryError) as error:
            reasons.append(one_line(error))
    return CannotRun(config, "; ".join(dict.fromkeys(reasons)))


def describe_cost(each: TrialCost | Footprint) -> str:
    """What a trial of a kind takes, for a person."""
    return f"{each.memory / 2**30:.2f} GiB, {each.views_per_second:,.0f} views/s alone"


def cost_here(data: Splits) -> Runner:
    """Measures on this machine."""

    def run(config: Config) -> TrialCost:
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        started = time.time()
        process = context.Process(target=_send_cost, args=(sender, config, data, started))
        process.start()
        sender.close()
        try:
            found: TrialCost | Exception = receiver.recv()
            process.join(END_SECONDS)  # ends by itself, and leaves nothing behind
        except EOFError:
            raise RuntimeError("its process was killed, as for lack of memory") from None
        finally:
            process.kill()  # also on Ctrl-C, before it has sent anything
            process.join()
        if isinstance(found, Exception):
            raise found
        return found

    return run


def _send_cost(sender: Connection, config: Config, data: Splits, started: float) -> None:
    try:
        _cap_memory(pick_device(config.run.device))
        sender.send(cost_of(config, data, started=started))
    except Exception as error:  # what it was, is for the process that asked
        sender.send(RuntimeError(one_line(error)))


def cost_on_node(config: Config, data: Splits, *, on_gpu: bool) -> TrialCost:
    """`cost_of`, in a process that was given a GPU or was not."""
    if on_gpu:
        check_gpu()
    return cost_of(config, data)


def cost_of(config: Config, data: Splits, started: float | None = None) -> TrialCost:
    """What a trial costs, measured in this process, which must be new: memory is a peak.

    Args:
        config: of the trial.
        data: the images.
        started: when the process was started, in seconds since 1970; None: now.
    """
    started = time.time() if started is None else started
    capacity, usable = _free(pick_device(config.run.device))
    run = Run(config, data)
    found = cost_of_step(run)
    views = config.data.batch_size * config.augment.views
    run.epoch = 1
    evaluation = _seconds_of_evaluation(run, FORWARD * views / found.seconds)
    with tempfile.TemporaryDirectory() as folder:
        run.save(Path(folder) / "last.pt")
        checkpoint = (Path(folder) / "last.pt").stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if run.device.type == "cuda":
        memory = torch.cuda.max_memory_reserved(run.device)
    return TrialCost(
        config=config,
        epoch_seconds=found.seconds * run.steps_per_epoch,
        evaluation_seconds=evaluation,
        views_per_second=views / found.seconds,
        memory=memory,
        capacity=capacity,
        checkpoint=checkpoint,
        usable=usable,
        busy=found.busy,
        start_seconds=found.first_ended - started,
    )


def _free(device: torch.device) -> tuple[int, float]:
    """Bytes that trials can share, and of a GPU, which part of it that is."""
    if device.type != "cuda":
        return free_memory(), 1.0
    free, total = torch.cuda.mem_get_info(device)
    capacity = max(0, free - RESERVE)
    return capacity, capacity / total


def _cap_memory(device: torch.device) -> None:
    """Let this process fail on the CPU before the machine runs out of memory, others with it."""
    if device.type == "cpu" and STATM.exists():  # on Linux
        own = int(STATM.read_text().split()[5]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = own + free_memory()
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _seconds_of_evaluation(run: Run, images_per_second: float) -> float:
    """Time of one evaluation; of a part of the images, as far as all would take too long."""
    data = run.data
    n = len(data.train) + len(data.val)
    share = EVALUATION_SECONDS * images_per_second / n
    if share < 1:
        run.data = Splits(_part(data.train, share), _part(data.val, share), data.classes)
    n_looked_at = len(run.data.train) + len(run.data.val)
    return seconds_of(run.evaluate, run.device) * n / n_looked_at


def _part(split: Split, share: float) -> Split:
    """So large a share of the images, drawn at random."""
    order = np.random.default_rng(0).permutation(len(split))
    return split.take(np.sort(order[: max(LEAST_IMAGES, int(share * len(split)))]))
