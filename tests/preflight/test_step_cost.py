"""What a step takes: on the CPU for real, on a GPU that is two clocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search.preflight import step_cost
from search.preflight.packing import trials_to_fill
from search.preflight.step_cost import CYCLES, DEVICE_STEPS, STEPS, WARM_UP, cost_of_step
from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.train import Run


def test_a_batch_is_part_of_its_step(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(epoch: int) -> Iterator[tuple[None, None]]:
        for _ in range(7):
            time.sleep(0.01)
            yield None, None

    run = Run(tiny, digits)
    monkeypatch.setattr(run, "loader", slow)
    monkeypatch.setattr(run, "step", lambda *batch: None)
    found = cost_of_step(run)
    assert 0.01 <= found.seconds < 1
    assert (found.device_seconds, found.busy) == (None, None)


class Clocks:
    """Host and GPU: the host gives out work, the GPU does it in turn and may lag behind."""

    def __init__(self, host: float, device: float) -> None:
        self.now, self.done, self.step = 100.0, 0.0, (host, device)
        self.n_steps = 0

    def give(self, seconds: float) -> None:
        self.done = max(self.now, self.done) + seconds

    def wait(self, device: object = None) -> None:
        self.now = max(self.now, self.done)

    def take_step(self, *batch: object) -> None:
        """A hundred calls, each of which the host makes before the GPU can compute it."""
        self.n_steps += 1
        host, device = self.step
        for _ in range(100):
            self.now += host / 100
            self.give(device / 100)

    def event(self, *, enable_timing: bool) -> Any:
        found = SimpleNamespace()
        found.record = lambda: setattr(found, "at", max(self.now, self.done))
        found.elapsed_time = lambda end: 1000 * (end.at - found.at)
        return found


def timed(monkeypatch: pytest.MonkeyPatch, clocks: Clocks, tiny: Config, data: Splits) -> Any:
    monkeypatch.setattr(torch.cuda, "synchronize", clocks.wait)
    monkeypatch.setattr(torch.cuda, "Event", clocks.event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: clocks.give(cycles / CYCLES))
    monkeypatch.setattr(time, "perf_counter", lambda: clocks.now)
    monkeypatch.setattr(step_cost, "set_lr", lambda *_: None)
    run = SimpleNamespace(
        config=tiny, data=data, device=torch.device("cuda"), optimizer=None,
        loader=lambda epoch: [(None, None)] * 7, step=clocks.take_step,
    )  # fmt: skip
    return cost_of_step(run)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "device", "n"),
    [
        (0.001, 0.010, 1),  # ResNet-18 at a batch of 512: more trials would gain nothing
        (0.009, 0.010, 1),
        (0.010, 0.008, 2),
        (0.010, 0.005, 2),
        (0.010, 0.003, 4),
        (0.010, 0.001, 10),
    ],
)
def test_what_a_gpu_computes_of_a_step_is_told_from_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, tiny: Config, digits: Splits,
    host: float, device: float, n: int,
) -> None:  # fmt: skip
    clocks = Clocks(host, device)
    found = timed(monkeypatch, clocks, tiny, digits)
    assert found.seconds == pytest.approx(max(host, device), rel=0.11)
    assert found.device_seconds == pytest.approx(device)
    assert trials_to_fill(found.busy) == n
    assert clocks.n_steps == WARM_UP + STEPS + DEVICE_STEPS


@pytest.mark.parametrize(("compiles", "n", "seconds"), [(False, 1, 20), (True, 2, 2)])
def test_a_step_that_compiles_is_not_what_a_step_takes(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch,
    compiles: bool, n: int, seconds: float,
) -> None:  # fmt: skip
    """A first step of 20 s that does not is all that a slow network gets."""
    monkeypatch.setattr(step_cost, "STEP_SECONDS", 1)
    steps = iter([20.0, 2.0, 2.0])
    monkeypatch.setattr(step_cost, "seconds_of", lambda *_: next(steps))
    run = Run(tiny, digits)
    run.config = override(tiny, {"run.compile": compiles})
    assert cost_of_step(run).seconds == seconds
    assert len(list(steps)) == 3 - n


def test_batches_that_workers_made_ahead_do_not_count(
    monkeypatch: pytest.MonkeyPatch, tiny: Config, digits: Splits
) -> None:
    """Four workers hand over a batch each at a time, the first two of each at once."""
    config = override(tiny, {"data.pipeline": "streaming", "data.workers": 4})
    clocks = Clocks(0.001, 0.001)
    take_step = clocks.take_step

    def wait_for_a_batch(*batch: object) -> None:
        if clocks.n_steps >= 8 and clocks.n_steps % 4 == 0:
            clocks.now += 0.4
        take_step()

    monkeypatch.setattr(clocks, "take_step", wait_for_a_batch)
    found = timed(monkeypatch, clocks, config, digits)
    assert found.seconds == pytest.approx(0.1, rel=0.1)
