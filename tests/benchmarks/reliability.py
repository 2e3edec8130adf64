"""What a search survives: it is killed at random, resumed each time, and loses nothing.

    python -m tests.benchmarks.reliability              # a quarter of an hour on 2 CPU cores
    python -m tests.benchmarks.reliability --kills 2    # two minutes: only that it runs

A real search on bundled digits, with one trial at once and with four, is killed after log lines
that are drawn uniformly over its length: the driver, a worker, or all of its processes, drawn too.
After all kills it runs to its end. At one trial at once its log must then be that of a search that
nobody disturbed, line for line apart from times; at four, every trial must have one outcome, and no
epoch may be recorded twice. The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.log.events import Ask, End, Event, Report, Started
from search.log.journal import Journal
from tests.benchmarks.search import RunningSearch, own_home, start_search, trial_pids

TARGETS = ("driver", "worker", "group")
TIMES = {"time", "seconds", "evaluation_seconds", "first_step"}
SPACE: dict[str, Any] = {
    "base": {
        "data": {"name": "digits", "train_size": 400, "pipeline": "resident"},
        "model": {"backbone": "test_resnet", "stem": "full"},
        "average": {"bn_images": 256},
        "run": {"epochs": 6, "precision": "fp32"},
    },
    "params": {
        "optim.lr_per_256": {"loguniform": [0.03, 1.0]},
        "data.batch_size": {"pow2": [32, 64]},
    },
    "budget": {"trials": 8},
    "scheduler": {"asha": {"grace": 1, "reduction": 3}},
    "confirm": {"top": 2, "pick_seeds": 1, "seeds": 3, "references": False},
}


def main() -> None:
    """Run, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reliability")
    parser.add_argument("--kills", type=int, default=20, help="at each number of trials at once")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4], help="trials at once")
    parser.add_argument("--seed", type=int, default=0, help="of when and what is killed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    rows = [chaos(at_once, options.kills, options.seed) for at_once in options.at_once]
    print(f"\n{'':20s}" + "".join(f"{name:>10s}" for name in rows[0]))
    for row in rows:
        print(f"{'':20s}" + "".join(f"{row[name]!s:>10s}" for name in row))
    print(f"\n{json.dumps(rows)}")


def chaos(at_once: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill a search so many times, and count what was lost or repeated."""
    flags = ("--concurrency", str(at_once), "--cpus-per-trial", "0.5")
    undisturbed = run_to_the_end(flags)
    rng = np.random.default_rng([seed, at_once])
    # After the last training there are no workers, and soon no search, to be killed.
    last = max(i for i, event in enumerate(undisturbed) if isinstance(event, End))
    points = np.sort(rng.integers(2, last, size=kills))
    targets = [TARGETS[i] for i in rng.integers(0, 3, size=kills)]
    events, killed = run_and_kill(flags, [int(point) for point in points], targets, rng)
    if at_once == 1:
        show_difference(story(undisturbed), story(events))
    return {
        "at_once": at_once,
        **{target: killed[target] for target in TARGETS},
        **tally(events),
        "same_log": story(events) == story(undisturbed) if at_once == 1 else "-",
    }


def run_to_the_end(flags: tuple[str, ...]) -> list[Event]:
    """The log of a search that nobody disturbs."""
    with own_home() as home:
        running = start_search(home, SPACE, *flags)
        try:
            running.process.wait()
        finally:
            running.kill()
        return finished(running)


def run_and_kill(
    flags: tuple[str, ...], points: list[int], targets: list[str], rng: np.random.Generator
) -> tuple[list[Event], Counter[str]]:
    """The log of a search that is killed when it has so many lines, and what was killed.

    A kill waits for a line that was not there at the one before it.
    """
    killed: Counter[str] = Counter()
    with own_home() as home:
        running = start_search(home, SPACE, *flags)
        try:
            seen = 0
            for point, target in zip(points, targets, strict=True):
                running.wait_for(partial(has_lines, running.log, max(point, seen + 1)))
                if running.process.poll() is not None:
                    break
                seen = lines(running.log)
                killed[target] += kill(running, target, rng)
                if target != "worker":
                    running = start_search(home, SPACE, "--resume", *flags[:2])
            running.process.wait()
        finally:
            running.kill()
        return finished(running), killed


def finished(running: RunningSearch) -> list[Event]:
    """The log of a search that has ended as it should."""
    if running.process.returncode:
        running.fail()
    return Journal.open(running.log).events


def kill(running: RunningSearch, target: str, rng: np.random.Generator) -> bool:
    """Kill a process, or all; whether there was one."""
    if target == "worker":
        for _ in range(100):  # between two trials' processes there may be none for a moment
            workers = trial_pids(running.process.pid)
            if workers or running.process.poll() is not None:
                break
            time.sleep(0.1)
        if workers:
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
        return bool(workers)
    if target == "driver":
        running.process.kill()
        running.process.wait()
        for _ in range(300):  # Ray's processes notice by themselves
            if not running.pids():
                break
            time.sleep(0.1)
    running.kill()
    return True


def lines(log: Path) -> int:
    """Whole lines of a log."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def has_lines(log: Path, n: int) -> bool:
    """Whether a log has come so far."""
    return lines(log) >= n


def tally(events: list[Event]) -> dict[str, int]:
    """How many trials there were, and to how many something happened that must not."""
    return {
        "trials": sum(isinstance(event, Ask) for event in events),
        "failed": sum(isinstance(e, End) and e.outcome == "failed" for e in events),
        "lost": len(lost(events)),
        "repeated": len(repeated(events)),
    }


def lost(events: list[Event]) -> set[Any]:
    """Trials that were asked for and have no outcome."""
    asked = {event.key for event in events if isinstance(event, Ask)}
    return asked - {event.key for event in events if isinstance(event, End)}


def repeated(events: list[Event]) -> list[Any]:
    """Trials asked for or ended twice, and epochs that were recorded twice."""
    seen = Counter(
        (event.event, *event.key, event.epoch if isinstance(event, Report) else None)
        for event in events
        if isinstance(event, Ask | End | Report)
    )
    return [what for what, times in seen.items() if times > 1]


def story(events: list[Event]) -> list[dict[str, Any]]:
    """What happened, without times and without where it was resumed."""
    return [event.model_dump(exclude=TIMES) for event in events if not isinstance(event, Started)]


def show_difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Print the first line in which two logs differ, if they do."""
    for line, (a, b) in enumerate(itertools.zip_longest(expected, found), start=1):
        if a != b:
            print(f"line {line} differs:\n  undisturbed {a}\n  killed      {b}", flush=True)
            return


if __name__ == "__main__":
    main()
