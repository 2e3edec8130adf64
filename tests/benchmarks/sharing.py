"""Stage one with a device to itself, and shared by several trials: when does a fraction pay?

    python -m tests.benchmarks.sharing           # resnet18, batch 512 and 1024, on a GPU
    python -m tests.benchmarks.sharing --quick   # a small network on this machine's CPU

Each trial is a process, as in a search, with as many CPU threads as it would get there. All wait
for each other before an epoch that is timed, on noise of 32 pixels: what an image shows costs no
time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import torch

from supcon.config import Config, override
from supcon.images.split import Split, Splits
from supcon.network.device import pick_device
from supcon.train import Run

CLASSES = 10
FULL = {"backbone": "resnet18", "batch_sizes": (512, 1024), "trials": (1, 2, 4, 8), "steps": 40}
QUICK = {"backbone": "test_resnet", "batch_sizes": (64, 128), "trials": (1, 2), "steps": 4}


def main() -> None:
    """Run, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sharing")
    parser.add_argument("--quick", action="store_true", help="a minute, on the CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda, with --quick cpu")
    options = parser.parse_args()
    shape: dict[str, Any] = QUICK if options.quick else FULL
    device = options.device or ("cpu" if options.quick else "cuda")
    name = platform.processor() or "CPU"
    if pick_device(device).type == "cuda":
        name = torch.cuda.get_device_name()
    print(
        f"{shape['backbone']}, 32 pixels, {name}, {os.cpu_count()} cores, torch {torch.__version__}"
    )
    print(f"\n{'batch':>8s}{'trials':>8s}{'views/s each':>14s}{'together':>10s}{'gain':>8s}")
    rows = []
    for batch_size in shape["batch_sizes"]:
        alone = 0.0
        for trials in shape["trials"]:
            rates = views_per_second(shape, device, batch_size, trials)
            together = sum(rates)
            alone = alone or together
            gain, each = together / alone, together / trials
            print(f"{batch_size:8d}{trials:8d}{each:14.0f}{together:10.0f}{gain:8.2f}", flush=True)
            rows.append({"batch_size": batch_size, "trials": trials, "views_per_s": rates})
    print(f"\n{json.dumps({'device': name, 'rows': rows})}")


def views_per_second(
    shape: dict[str, Any], device: str, batch_size: int, trials: int
) -> list[float]:
    """Of each of so many trials that train at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(trials), context.Queue()
    arguments = (shape, device, batch_size, trials, barrier, results)
    processes = [context.Process(target=_train, args=arguments) for _ in range(trials)]
    for process in processes:
        process.start()
    try:
        rates = [results.get(timeout=600) for _ in processes]
        for process in processes:
            process.join()
        return rates
    finally:
        for process in processes:
            process.terminate()


def _train(
    shape: dict[str, Any],
    device: str,
    batch_size: int,
    trials: int,
    barrier: Barrier,
    results: multiprocessing.Queue[float],
) -> None:
    changes = {"model.backbone": shape["backbone"], "data.batch_size": batch_size}
    changes |= {"run.device": device, "run.threads": max(1, (os.cpu_count() or 1) // trials)}
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (shape["steps"] * batch_size, 32, 32, 3), dtype=np.uint8)
    train = Split(pixels, np.arange(len(pixels)) % CLASSES)
    config = override(Config(), {"data.name": "cifar10", **changes})
    run = Run(config, Splits(train, train, tuple("abcdefghij")))
    run.train_epoch()  # warms up
    barrier.wait()
    started = time.perf_counter()
    run.train_epoch()  # ends with a look at its losses, which waits for the device
    seconds = time.perf_counter() - started
    barrier.wait()  # nobody ends early and leaves the device to the others
    results.put(len(pixels) * config.augment.views / seconds)


if __name__ == "__main__":
    main()
