"""What a search survives: it is killed at random, started again each time, and loses nothing.

    python -m tests.benchmarks.reliability              # an hour on 2 CPU cores
    python -m tests.benchmarks.reliability --kills 4 --rounds 1 1    # that it runs

A real search on bundled digits, with one trial at once and with four, is killed over its whole
length, in rounds: before its log has begun; after log lines that are drawn uniformly over all of
them, the opening of the test images and the pictures included; and at any time of its end, while
the report is written. What is killed is drawn, too: the driver, a worker, or all of its processes.
Then the same line starts it again. After all kills it runs to its end. At one trial at once its log
must then be that of a search that nobody disturbed, line for line apart from times, and so must its
verdict; at four, every trial must have one outcome, no epoch may be recorded twice, and the test
images are opened once for each row. The last line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import platform
import signal
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from search.log.events import Ask, End, Event, Examined, Pictured, Report, Started, Tested, Unsealed
from search.log.journal import Journal
from tests.benchmarks.search import RunningSearch, own_home, start_search, trial_pids

TARGETS = ("driver", "worker", "group")
PHASES = ("start", "line", "end")
TIMES = {"time", "seconds", "evaluation_seconds", "checkpoint_seconds", "first_step"}
SURROUNDINGS = TIMES | {"commit"}  # of the checkout, which somebody may change meanwhile
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
    parser.add_argument("--kills", type=int, default=20, help="of a search")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4], help="trials at once")
    parser.add_argument("--rounds", type=int, nargs="+", default=[7, 3], help="searches of each")
    parser.add_argument("--seed", type=int, default=0, help="of when and what is killed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    rows = []
    for at_once, rounds in zip(options.at_once, options.rounds, strict=True):
        for number in range(rounds):
            rows.append(chaos(at_once, options.kills, options.seed + number))
            print(json.dumps(rows[-1]), flush=True)
    print(f"\n{'':20s}" + "".join(f"{name:>10s}" for name in rows[0]))
    for row in rows:
        print(f"{'':20s}" + "".join(f"{row[name]!s:>10s}" for name in row))
    print(f"\n{json.dumps(rows)}")


@dataclass(frozen=True)
class Kill:
    """When a search is killed, and what of it."""

    at: Literal["start", "line", "end"]
    value: float
    """Lines of the log; else seconds after the process has started."""
    target: str


def chaos(at_once: int, kills: int, seed: int, trials: int = 8) -> dict[str, Any]:
    """Kill a search of so many trials an arm so many times; what was lost or repeated."""
    flags = ("--concurrency", str(at_once), "--cpus-per-trial", "0.5", "--trials", str(trials))
    undisturbed, verdict, seconds = run_to_the_end(flags)  # once for all seeds
    rng = np.random.default_rng([seed, at_once])
    plan = plan_kills(kills, len(undisturbed), seconds, rng)
    events, found, killed = run_and_kill(flags, plan, rng)
    if at_once == 1:
        show_difference(story(undisturbed), story(events))
    return {
        "at_once": at_once,
        **{target: killed[target] for target in TARGETS},
        **{f"at_{phase}": killed[f"at_{phase}"] for phase in PHASES},
        **tally(events),
        "same_log": story(events) == story(undisturbed) if at_once == 1 else "-",
        "same_verdict": found == verdict if at_once == 1 else "-",
    }


def plan_kills(kills: int, n_lines: int, seconds: float, rng: np.random.Generator) -> list[Kill]:
    """A tenth at the start, a sixth at the end, the others after lines drawn uniformly.

    Args:
        kills: how many.
        n_lines: of the whole log.
        seconds: that a search takes which has only its report to write.
        rng: draws.
    """
    n_start, n_end = kills // 10, (kills + 5) // 6
    middle = np.sort(rng.integers(1, n_lines, size=kills - n_start - n_end))
    times: dict[Literal["start", "line", "end"], Any] = {
        "start": rng.uniform(0, seconds, size=n_start),
        "line": middle,
        "end": rng.uniform(0, seconds, size=n_end),
    }
    return [
        # Trials have workers only while they train.
        Kill(at, float(value), str(rng.choice(TARGETS if at == "line" else ("driver", "group"))))
        for at, values in times.items()
        for value in values
    ]


@functools.cache
def run_to_the_end(flags: tuple[str, ...]) -> tuple[list[Event], Any, float]:
    """The log and the verdict of a search that nobody disturbs, and what it takes to end anew."""
    with own_home() as home:
        for _ in range(2):
            running = start_search(home, SPACE, "--continue", *flags)
            try:
                running.process.wait()
            finally:
                running.kill()
            seconds = time.time() - running.started
            finished(running)
        return finished(running), verdict_of(running), seconds


def run_and_kill(
    flags: tuple[str, ...], plan: list[Kill], rng: np.random.Generator
) -> tuple[list[Event], Any, Counter[str]]:
    """The log and the verdict of a search that is killed as planned, and what was killed.

    A kill waits for a line that was not there at the one before it, or for the last one.
    """
    killed: Counter[str] = Counter()
    with own_home() as home:
        running = start_search(home, SPACE, "--continue", *flags)
        try:
            seen = 0
            for each in plan:
                if each.at == "end":
                    running.process.wait()  # what it lacked
                    running = start_search(home, SPACE, "--continue", *flags)
                if each.at == "line":
                    running.wait_for(partial(has_lines, running.log, max(each.value, seen + 1)))
                else:
                    running.wait_for(partial(is_past, running.started + each.value))
                seen = lines(running.log)
                if running.process.poll() is not None:
                    continue
                is_dead = kill(running, each.target, rng)
                killed[each.target] += is_dead
                killed[f"at_{each.at}"] += is_dead
                if running.process.poll() is not None:
                    running = start_search(home, SPACE, "--continue", *flags)
            running.process.wait()
        finally:
            running.kill()
        return finished(running), verdict_of(running), killed


def verdict_of(running: RunningSearch) -> Any:
    """What the summary says."""
    return json.loads((running.log.parent / "summary.json").read_text())["verdict"]


def finished(running: RunningSearch) -> list[Event]:
    """The log of a search that has ended as it should."""
    if running.process.returncode:
        running.fail()
    return Journal.open(running.log).events


def kill(running: RunningSearch, target: str, rng: np.random.Generator) -> bool:
    """Kill a process, or all; whether there was one."""
    if target == "worker":
        for _ in range(
            100 if trial_pids(running.process.pid) else 20
        ):  # between two there are none
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


def has_lines(log: Path, n: float) -> bool:
    """Whether a log has come so far."""
    return lines(log) >= n


def is_past(moment: float) -> bool:
    """Whether that time has come."""
    return time.time() > moment


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
    """Trials asked for, ended, tested, examined or drawn twice, epochs that were recorded twice,
    and rows for which the test images were opened twice.
    """
    seen: Counter[Any] = Counter(
        (event.event, *event.key, event.epoch if isinstance(event, Report) else None)
        for event in events
        if isinstance(event, Ask | End | Report | Tested | Examined | Pictured)
    )
    seen.update((e.event, e.arm, e.phase, 0, None) for e in events if isinstance(e, Unsealed))
    return [what for what, times in seen.items() if times > 1]


def story(events: list[Event]) -> list[dict[str, Any]]:
    """What happened, without times and without where it was resumed."""
    return [
        event.model_dump(exclude=SURROUNDINGS) for event in events if not isinstance(event, Started)
    ]


def show_difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Print the first line in which two logs differ, if they do."""
    for line, (a, b) in enumerate(itertools.zip_longest(expected, found), start=1):
        if a != b:
            print(f"line {line} differs:\n  undisturbed {a}\n  killed      {b}", flush=True)
            return


if __name__ == "__main__":
    main()
