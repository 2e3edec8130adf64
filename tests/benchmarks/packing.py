"""How `gpu: auto` packs spaces/cifar100.yaml onto GPUs: no over-use, and what is left unused.

    python -m tests.benchmarks.packing           # five minutes on 2 CPU cores, no GPU needed
    python -m tests.benchmarks.packing --quick   # that it runs

A simulation: Ray is told of two GPUs of 80 GiB that are not there, and trials sleep; where each was
placed, and when, is theirs to say. What a kind of config takes is not measured but counted, by
`supcon.step_memory`: a step in bf16; weights, gradients, momentum and averages in fp32. Over-use
is a moment at which trials that share a GPU hold more than it has. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from search.preflight.packing import MARGIN, Node, footprints
from search.preflight.trial_cost import TrialCost, kinds
from search.space.loading import load_space
from search.space.resources import Footprint
from search.space.space import Space
from supcon.config import Config
from supcon.images.split import Split, Splits
from supcon.step_memory import step_bytes
from tests.benchmarks.cluster import cluster
from tests.benchmarks.scaling import sleep
from tests.benchmarks.search import ROOT, own_home

GPUS, CORES = 2, 16
CAPACITY = 80 * 2**30
EPOCH_SECONDS = 0.1  # of 200 epochs
IMAGES = 45_000 * 3072  # bytes: resident on the GPU
Key = tuple[str, int]


def main() -> None:
    """Run, print tables and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.packing")
    parser.add_argument("--quick", action="store_true", help="a minute")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}; {GPUS} declared GPUs")
    measured = count(cifar100("auto"))
    print(f"\n{'backbone':>12s}{'batch':>8s}{'GiB':>8s}{'share':>8s}")
    for each in measured:
        gib = each.memory / 2**30
        print(f"{each.backbone:>12s}{each.batch_size:8d}{gib:8.1f}{each.gpu:8.4f}")
    print(f"\n{'gpu':>6s}{'shares':>14s}{'memory':>14s}{'trials':>14s}{'over-used':>12s}")
    rows, trials = {}, 10 if options.quick else 60
    for share in ("auto", 0.25, 0.5):
        rows[str(share)] = row = simulate(share, trials, measured)
        used = "".join(
            f"{f'{row[name][0]:.2f}, {row[name][1]:.2f}':>14s}"
            for name in ("share", "memory", "trials")
        )
        print(f"{share!s:>6s}{used}{row['over_used']:12d}", flush=True)
    print(
        "of one GPU: at most, and on average over time; over-used: moments at which a trial began"
    )
    print(f"\n{json.dumps(rows)}")


def cifar100(share: float | str) -> Space:
    """The shipped space with this share."""
    changes = {"resources.gpu": share, "resources.cpu": 1.0, "run.precision": "bf16"}
    return load_space(ROOT / "spaces" / "cifar100.yaml", changes)


def count(space: Space) -> tuple[Footprint, ...]:
    """What each kind of config takes, as if measured on GPUs of 80 GiB."""
    costs = [
        TrialCost(config, 1.0, 1.0, 1.0, count_memory(config), CAPACITY, 1)
        for config in kinds(space)
    ]
    return footprints(space.resources, costs, [Node(CORES, GPUS)])


def count_memory(config: Config) -> int:
    """Bytes that training takes, counted on images that hold no numbers."""
    split = Split(np.zeros((4, 32, 32, 3), dtype=np.uint8), np.arange(4) % 2)
    data = Splits(split, split, tuple(f"{i}" for i in range(100)))
    return step_bytes(config, data, torch.device("cpu")) + IMAGES


def simulate(share: float | str, trials: int, measured: Sequence[Footprint]) -> dict[str, Any]:
    """Let Ray place so many trials of both arms together, and look at each GPU at all times."""
    tree = cifar100(share).dump()
    tree |= {"budget": {"trials": trials // 2}, "scheduler": "none", "points": {}}
    tree["sampler"] = "random"  # nothing is learnt from trials that sleep
    with own_home() as home, cluster(home) as machines:
        for _ in range(GPUS):
            machines.add(CORES // GPUS, gpus=1)
        shares = measured if share == "auto" else ()
        sleep(home, machines.address, tree, EPOCH_SECONDS, 0, shares)
        files = sorted((home / "study" / "trials").glob("*/place.json"))
        memory = {(each.backbone, each.batch_size): each.memory for each in measured}
        return look([json.loads(file.read_text()) for file in files], memory)


def look(places: list[dict[str, Any]], memory: dict[Key, int]) -> dict[str, Any]:
    """How much of a GPU was used, (at most, on average), and how often more than there is."""
    by_gpu: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for place in places:
        (gpu,) = place["gpus"]
        place["memory"] = MARGIN * memory[tuple(place["kind"])] / CAPACITY
        place["trials"] = 1
        by_gpu[place["node"], gpu].append(place)
    first = max(min(t["began"] for t in trials) for trials in by_gpu.values())
    last = min(max(t["ended"] for t in trials) for trials in by_gpu.values())
    moments = [
        [t for t in trials if t["began"] <= moment < t["ended"]]
        for trials in by_gpu.values()
        for moment in (trial["began"] for trial in trials)
    ]
    found: dict[str, Any] = {
        "over_used": sum(len(now) > 1 and sum(t["memory"] for t in now) > 1 for now in moments)
    }
    for name in ("share", "memory", "trials"):
        spent = sum(
            t[name] * max(0.0, min(t["ended"], last) - max(t["began"], first)) for t in places
        )
        most = max(sum(t[name] for t in now) for now in moments)
        found[name] = (most, spent / len(by_gpu) / (last - first))
    return found


if __name__ == "__main__":
    main()
