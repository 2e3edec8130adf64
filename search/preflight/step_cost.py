"""What a step of training takes: in all, its batch included, and of that what a GPU computes."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from supcon.images.batches import n_workers
from supcon.images.views_by_image import PREFETCH
from supcon.network.device import seconds_of
from supcon.recipe.optim import set_lr
from supcon.train import Run

WARM_UP = 5  # steps that are not counted
STEPS = 20
STEP_SECONDS = 15.0  # after which no further step is timed; a large network on a CPU takes as long
DEVICE_STEPS = 3
LEAST_BUSY = 0.001  # no memory has room for a thousand trials
CYCLES = 3e9  # a second of the fastest GPU; a slower one sleeps longer


@dataclass(frozen=True)
class StepCost:
    """What a step takes of a run that has the device to itself."""

    seconds: float
    """From one step's end to the next one's."""
    device_seconds: float | None
    """Of these, those in which the GPU computes; None: there is none."""
    first_ended: float
    """When the first step had ended, in seconds since 1970."""

    @property
    def busy(self) -> float | None:
        """Part of a step in which the GPU computes."""
        if self.device_seconds is None:
            return None
        return round(min(1.0, max(LEAST_BUSY, self.device_seconds / self.seconds)), 4)


def cost_of_step(run: Run) -> StepCost:
    """Time a few steps of a run, the first ones left out; its weights stay as they are."""
    step, times = stepper(run), list[float]()
    ahead = PREFETCH * n_workers(run.config, run.data.train, torch.get_num_threads())
    skipped = WARM_UP + ahead  # what a loader made ahead in slow first steps is soon used up
    start = int(run.config.run.compile)  # the first step compiles, which no later one does
    while len(times) < skipped + STEPS and sum(times[start:]) <= STEP_SECONDS:
        times.append(seconds_of(step, run.device))
        if len(times) == 1:
            first_ended = time.time()
    counted = times[skipped:] or times[max(1, len(times) // 4) :] or times
    # A mean, since workers of a loader hand over several batches at a time, and then none.
    seconds = statistics.mean(counted)
    if run.device.type != "cuda":
        return StepCost(seconds, None, first_ended)
    n = DEVICE_STEPS if seconds < 1 else 1
    found = [_device_seconds(step, run.device, 2 * seconds) for _ in range(n)]
    return StepCost(seconds, statistics.median(found), first_ended)


def stepper(run: Run) -> Callable[[], object]:
    """Makes the next batch and takes a step on it, epoch after epoch; weights stay as they are."""
    batches = itertools.chain.from_iterable(run.loader(epoch) for epoch in itertools.count(1))

    def step() -> object:
        images, labels = next(batches)
        set_lr(run.optimizer, 0, 0)  # without a warm-up, the full one could diverge
        return run.step(images, labels)

    return step


def _device_seconds(step: Callable[[], object], device: torch.device, asleep: float) -> float:
    """How long a GPU computes for a step that it has been given as a whole.

    Put to sleep before, the GPU waits for the step's calls and not for those who make them: what
    passes between the two events is all work.

    Args:
        step: what is timed.
        device: the GPU.
        asleep: seconds that it sleeps at least.
    """
    torch.cuda.synchronize(device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(int(CYCLES * asleep))  # what torch's own tests of streams use
    begin.record()
    step()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1000
