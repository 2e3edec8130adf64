"""Trials a minute on 1, 2 and 3 nodes, and how many trials one driver can feed.

    python -m tests.benchmarks.scaling           # ten minutes on 2 CPU cores
    python -m tests.benchmarks.scaling --quick   # that it runs

Nodes are Ray's, on this machine, each with room for two trials. Trials sleep, with images as large
as CIFAR-100's and a checkpoint as large as ResNet-18's; else, everything is as in a search. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from search.log.events import End
from search.log.journal import Journal
from search.space.resources import Footprint
from tests.benchmarks.cluster import TOKEN, cluster
from tests.benchmarks.search import ROOT, kill_session, own_home

SLOTS = 2  # of a node
EPOCHS = 9
CHECKPOINT = 134_000_000  # bytes: ResNet-18, its momentum and its EMA in fp32
SPACE: dict[str, Any] = {
    "name": "sleep",
    "base": {"data": {"name": "cifar100"}, "run": {"epochs": EPOCHS, "checkpoint_minutes": 60}},
    "params": {
        "loss.temperature": {"loguniform": [0.03, 0.5]},
        "optim.lr_per_256": {"loguniform": [0.03, 0.6]},
        "data.batch_size": {"pow2": [128, 1024]},
    },
    "scheduler": "none",
}


def main() -> None:
    """Run, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling")
    parser.add_argument("--quick", action="store_true", help="two minutes")
    parser.add_argument("--seconds", type=float, default=2.0, help="of an epoch that sleeps")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    rounds, counts = (2, (1, 2)) if options.quick else (6, (1, 2, 3))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    print(f"{'nodes':>8s}{'trials':>8s}{'a minute':>10s}{'of linear':>11s}", flush=True)
    rates: dict[int, float] = {}
    for nodes in counts:
        trials = SLOTS * nodes * rounds
        rates[nodes] = trials_a_minute(nodes, trials, options.seconds, CHECKPOINT)
        linear = rates[nodes] / nodes / rates[counts[0]]
        print(f"{nodes:8d}{trials:8d}{rates[nodes]:10.1f}{linear:11.3f}", flush=True)
    fed = trials_a_minute(1, 40 if options.quick else 400, 0.0, 0)
    print(f"trials that take no time, {SLOTS} at once: {fed:.0f} a minute")
    print(f"\n{json.dumps({'trials_a_minute': rates, 'fed_a_minute': fed})}")


def trials_a_minute(nodes: int, trials: int, seconds: float, checkpoint: int) -> float:
    """Over the time from the end of the first trial of each slot to the end of all.

    Both arms get half of the trials. The first of each slot are left out: their workers start.
    """
    with own_home() as home, cluster(home) as machines:
        for _ in range(nodes):
            machines.add(SLOTS)
        space = SPACE | {"budget": {"trials": trials // 2}}
        journal = sleep(home, machines.address, space, seconds, checkpoint)
        ends = sorted(event.time for event in journal.events if isinstance(event, End))
    first = SLOTS * nodes
    return 60 * (len(ends) - first) / (ends[-1] - ends[first - 1])


def sleep(
    home: Path,
    address: str,
    space: dict[str, Any],
    seconds: float,
    checkpoint: int,
    measured: Sequence[Footprint] = (),
) -> Journal:
    """The log of a search whose trials sleep."""
    (home / "space.yaml").write_text(yaml.safe_dump(space))
    given: dict[str, Any] = {"seconds": seconds, "checkpoint": checkpoint}
    given["measured"] = [each.model_dump() for each in measured]
    (home / "sleep.json").write_text(json.dumps(given))
    own = dict.fromkeys(("HOME", "RAY_TMPDIR", "TMPDIR"), str(home))
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.sleeping", str(home), address],
        env={**os.environ, **own, **TOKEN, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    try:
        if driver.wait():
            raise SystemExit("the search failed")
    finally:
        kill_session(driver)
    journal = Journal.open(home / "study" / "events.jsonl")
    for trial in journal.trials.values():
        if trial.outcome != "completed":
            raise SystemExit(f"{trial.name} is {trial.outcome}: {trial.end and trial.end.detail}")
    return journal


if __name__ == "__main__":
    main()
