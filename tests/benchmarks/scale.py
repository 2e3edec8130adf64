"""A thousand short trials: what grows with their number, and how fast.

    python -m tests.benchmarks.scale                  # a quarter of an hour on 2 CPU cores
    python -m tests.benchmarks.scale --trials 20      # a minute: only that it runs

A real search whose trials train for an epoch on 100 images, without early stopping. The driver's
memory is looked at while it runs; trials a minute and bytes of log are read off the log; a
suggestion is timed afterwards, on the log as it was. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.log.events import Ask, End
from search.log.journal import Journal
from search.log.study import Study
from search.space.loading import parse_space
from search.strategy.search_order import SearchOrder
from tests.benchmarks.search import RunningSearch, running_search

MB = 1e6
SPACE: dict[str, Any] = {
    "base": {
        "data": {"name": "digits", "image_size": 8, "train_size": 100, "val_size": 100},
        "model": {"backbone": "test_resnet", "stem": "full"},
        "average": {"bn_images": 32},
        "probe": {"l2": [0.01], "max_iter": 10},
        "run": {"epochs": 1, "precision": "fp32"},
    },
    "params": {
        "optim.lr_per_256": {"loguniform": [0.03, 1.0]},
        "augment.strength": {"uniform": [0.1, 1.0]},
        "data.batch_size": {"choice": [20, 25]},
        "optim.weight_decay": {"loguniform": [1e-5, 1e-2]},
    },
    "scheduler": "none",
    "confirm": {"top": 1, "seeds": 1, "references": False},
}


def main() -> None:
    """Run, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale")
    parser.add_argument("--trials", type=int, default=1000, help="of both arms together")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    with running_search({**SPACE, "budget": {"trials": options.trials // 2}}) as running:
        memory = watch(running)
        if running.process.returncode:
            running.fail()
        marks = [options.trials * tenth // 10 for tenth in range(1, 11)]
        rows = [row(running.log, mark, memory) for mark in marks]
        tree = {str(path): path.stat().st_size for path in running.log.parent.iterdir()}
    header = ("trials", "trials/min", "suggestion, ms", "log, kB", "driver, MB")
    print("\n" + "".join(f"{name:>16s}" for name in header))
    for values in rows:
        print("".join(f"{value:16.1f}" for value in values))
    print(f"\nstudy.db {next(v for k, v in tree.items() if k.endswith('.db')) / MB:.2f} MB\n")
    print(json.dumps([dict(zip(header, values, strict=True)) for values in rows]))


def watch(running: RunningSearch) -> list[tuple[float, float]]:
    """When the driver had how many bytes of memory, until the search ends."""
    found: list[tuple[float, float]] = []
    while running.process.poll() is None:
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{running.process.pid}/statm").read_text().split()
            found.append((time.time(), int(status[1]) * os.sysconf("SC_PAGE_SIZE")))
        time.sleep(1)
    return found


def row(log: Path, trials: int, memory: list[tuple[float, float]]) -> list[float]:
    """What was measured when so many search trials had ended, and over the tenth before that."""
    ends = [e.time for e in Journal.open(log).events if isinstance(e, End) and e.phase == "search"]
    tenth = len(ends) // 10
    since = ends[trials - tenth - 1] if trials > tenth else ends[0]
    rate = 60 * tenth / (ends[trials - 1] - since or 1)
    at = ends[trials - 1]
    content = b"".join(_until(log, at))
    bytes_then = [used for when, used in memory if when <= at][-1]
    seconds = seconds_a_suggestion(log.with_name("then.jsonl"), content)
    return [trials, rate, 1e3 * seconds, len(content) / 1e3, bytes_then / MB]


def _until(log: Path, at: float) -> list[bytes]:
    """The lines of a log up to a moment."""
    return [line for line in log.read_bytes().splitlines(True) if json.loads(line)["time"] <= at]


def seconds_a_suggestion(path: Path, content: bytes) -> float:
    """What the next suggestion takes after those events, which the sampler knows already."""
    path.write_bytes(content)
    log = Journal.open(path)
    space = parse_space(log.latest.space | {"budget": {"trials": 10**6}}, "space")
    order, times = SearchOrder(Study(space, log)), []
    for _ in range(6):
        started = time.perf_counter()
        ask = order()
        times.append(time.perf_counter() - started)
        assert isinstance(ask, Ask)
        log.append(ask)
        log.end(ask.key, "failed")
    return sorted(times[1:])[2]


if __name__ == "__main__":
    main()
