"""What `run.memory` saves and costs: bytes that are counted, bytes of a process, seconds a step.

    python -m tests.recipe.measure           # ResNet-18 and ResNet-50, five minutes
    python -m tests.recipe.measure --quick   # a small network, some seconds

Counted are the tensors alive at once in a step (`supcon.step_memory`), without taking it. Each step
that is taken has a process of its own, whose resident memory is a peak; steps that are timed follow
each other in one process, the modes in turn, in seconds of the CPU. Images are noise. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import time
from functools import partial
from typing import Any

import numpy as np
import torch

from supcon.config import Config, override
from supcon.images.split import Split, Splits
from supcon.network.device import seconds_of
from supcon.network.models import network_for
from supcon.step_memory import COPIES, MODES, step_bytes
from supcon.train import Run

FULL: dict[str, Any] = {
    "counted": ("resnet18", "resnet50"), "batch": 1024, "micro_batch": 256,
    "taken": (("resnet50", 64, "plain", 64), ("resnet50", 128, "cached", 64)),
    "timed": ("resnet18", 256, 128), "rounds": 1,
}  # fmt: skip
QUICK: dict[str, Any] = {
    "counted": ("test_resnet",), "batch": 256, "micro_batch": 64,
    "taken": (("test_resnet", 32, "plain", 32), ("test_resnet", 64, "cached", 32)),
    "timed": ("test_resnet", 64, 32), "rounds": 2,
}  # fmt: skip
GIB = 2**30
CPU = torch.device("cpu")


def main() -> None:
    """Run, print tables and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.recipe.measure")
    parser.add_argument("--quick", action="store_true", help="that it runs")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    options = parser.parse_args()
    shape = QUICK if options.quick else FULL
    print(f"32 pixels, 2 views, supcon, {options.precision}; {os.cpu_count()} cores, load "
          f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}")  # fmt: skip
    rows = {
        "counted": counted(shape, options.precision),
        "taken": taken(shape, options.precision),
        "seconds": timed(shape, options.precision),
    }
    print(f"\n{json.dumps(rows)}")


def config_of(backbone: str, batch: int, memory: str, micro_batch: int, precision: str) -> Config:
    """Of a run on the CPU."""
    changes = {"model.backbone": backbone, "data.batch_size": batch, "run.memory": memory}
    changes |= {"run.micro_batch": micro_batch, "run.precision": precision, "run.device": "cpu"}
    return override(Config(), changes, "measure")


def noise(n: int) -> Splits:
    """Images of 32 pixels in 10 classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    split = Split(pixels, np.arange(n) % 10)
    return Splits(split, split, tuple(map(str, range(10))))


def counted(shape: dict[str, Any], precision: str) -> list[dict[str, Any]]:
    """Tensors alive at once, of each mode."""
    print(f"\n{'backbone':12s}{'batch':>8s}{'mode':>12s}{'GiB':>8s}{'of plain':>10s}")
    rows, data = [], noise(16)
    for backbone in shape["counted"]:
        plain = 0.0
        for mode in MODES:
            config = config_of(backbone, shape["batch"], mode, shape["micro_batch"], precision)
            gib = step_bytes(config, data, CPU) / GIB
            plain = plain or gib
            print(f"{backbone:12s}{shape['batch']:8d}{mode:>12s}{gib:8.2f}{gib / plain:10.3f}")
            rows.append({"backbone": backbone, "mode": mode, "gib": gib, "of_plain": gib / plain})
    return rows


def taken(shape: dict[str, Any], precision: str) -> list[dict[str, Any]]:
    """What a process grows by in a step, beside what was counted for it."""
    print(f"\n{'backbone':12s}{'batch':>8s}{'mode':>12s}{'grew, GiB':>11s}{'counted':>9s}{'s':>8s}")
    rows = []
    for backbone, batch, mode, micro_batch in shape["taken"]:
        config = config_of(backbone, batch, mode, micro_batch, precision)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            gib, seconds = pool.apply(grown, (config,))
        weights = 4 * COPIES * weights_of(config)
        expected = (step_bytes(config, noise(16), CPU) - weights) / GIB
        print(f"{backbone:12s}{batch:8d}{mode:>12s}{gib:11.2f}{expected:9.2f}{seconds:8.1f}",
              flush=True)  # fmt: skip
        rows.append({"backbone": backbone, "batch": batch, "mode": mode, "gib": gib,
                     "counted": expected, "seconds": seconds})  # fmt: skip
    return rows


def weights_of(config: Config) -> int:
    """Parameters of a run's network."""
    return sum(p.numel() for p in network_for(config, noise(16)).parameters())


def grown(config: Config) -> tuple[float, float]:
    """GiB that this process, which must be new, grows by in a step, and the step's seconds."""
    run = Run(config, noise(4 * config.data.batch_size))
    images, labels = next(iter(run.loader(1)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = seconds_of(partial(run.step, images, labels), run.device)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / GIB, seconds


def timed(shape: dict[str, Any], precision: str) -> dict[str, float]:
    """CPU seconds of a step on one thread, which others on the machine do not change; the median of
    some, the first ones left out.
    """
    torch.set_num_threads(1)
    backbone, batch, micro_batch = shape["timed"]
    data, times = noise(4 * batch), {mode: list[float]() for mode in MODES}
    runs = {m: Run(config_of(backbone, batch, m, micro_batch, precision), data) for m in MODES}
    images, labels = next(iter(runs["plain"].loader(1)))
    for _ in range(1 + shape["rounds"]):
        for mode, run in runs.items():
            before = time.process_time()
            run.step(images, labels)
            times[mode].append(time.process_time() - before)
    medians = {mode: statistics.median(each[1:]) for mode, each in times.items()}
    print(f"\n{backbone}, batch {batch}, micro-batches of {micro_batch} views")
    for mode, seconds in medians.items():
        print(f"{mode:>12s}{seconds:8.2f} s{seconds / medians['plain']:8.2f} of plain")
    return medians


if __name__ == "__main__":
    main()
