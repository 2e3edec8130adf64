"""What the harness costs: a real search of equal trials, and where the time of its slots went.

    python -m tests.benchmarks.search            # a quarter of an hour on 2 CPU cores
    python -m tests.benchmarks.search --quick    # a minute: only that it runs

Trials are on bundled digits, a CPU core each, all of one length: ASHA stops none. What is said
about them is read off the study's `events.jsonl`. The last line is JSON.

A start is the time from when a trial was asked for, or its slot became free, should that be later,
to its first step. (Ray 2.60 asks a few milliseconds after the end of the trial that frees the slot,
never before.) A phase's first trials start cold: their workers import torch. But the last worker of
the search goes on with the first trial of the confirmation.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml

from search.log.events import Phase, Report
from search.log.journal import Journal
from search.log.trial import Trial
from supcon.config import Config, override
from supcon.images.loading import load_splits
from supcon.train import Run
from tests.programs import Fresh, Program

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "search" / "run.py"
LAUNCH: type[Program] = Fresh
NAME = "bench"
TITLES = (b"ResourceTrainable", b"SupConTrial")  # of trials' processes: in a call, between two
BASE: dict[str, dict[str, Any]] = {
    "data": {"name": "digits", "image_size": 32, "batch_size": 128, "pipeline": "resident"},
    "model": {"backbone": "test_resnet", "stem": "full"},
    "run": {"precision": "fp32"},  # auto could mean one thing here and another in the search
}
FULL = {"trials": 9, "seeds": 3}  # of each arm, so 18 to search and 6 to confirm
QUICK = {"trials": 3, "seeds": 1}


def main() -> None:
    """Run, print a table and a line of JSON."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    calibrated = epoch_seconds(options.slots)
    epochs = max(2, round(options.trial_seconds / calibrated))
    size = QUICK if options.quick else FULL
    print(
        f"{2 * sum(size.values())} trials of {epochs} epochs, {calibrated:.2f} s each where "
        f"{options.slots} train without Ray; slots of 1 CPU core, {os.cpu_count()} cores; torch "
        f"{torch.__version__}, Python {platform.python_version()}",
        flush=True,
    )
    with running_search(_space(size, epochs, options.slots)) as running:
        running.wait_for(lambda: running.process.poll() is not None)
        ended = time.time()
        if running.process.returncode:
            running.fail()
        summary = account(Journal.open(running.log), options.slots, running.started, ended)
    summary["epoch_seconds"] = summary["training_seconds"] / epochs
    summary["epoch_seconds_without_ray"] = calibrated
    _print_table(summary)
    print(f"\n{json.dumps(summary)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search")
    parser.add_argument("--quick", action="store_true", help="8 trials of a few seconds")
    parser.add_argument("--slots", type=int, default=2, help="trials at once, a CPU core each")
    parser.add_argument("--trial-seconds", type=float, help="default: 60, with --quick 3")
    options = parser.parse_args()
    if not 1 <= options.slots <= (os.cpu_count() or 1):
        parser.error(f"--slots must be 1 to {os.cpu_count()}, the CPU cores; got {options.slots}")
    options.trial_seconds = options.trial_seconds or (3 if options.quick else 60)
    return options


def _space(size: dict[str, int], epochs: int, slots: int) -> dict[str, Any]:
    """A search space whose trials all cost the same, whatever is drawn."""
    return {
        "base": {**BASE, "run": {**BASE["run"], "epochs": epochs}},
        "params": {
            "loss.temperature": {"loguniform": [0.05, 0.5]},
            "optim.lr_per_256": {"loguniform": [0.05, 0.2]},
        },
        "budget": {"trials": size["trials"]},
        "scheduler": {"asha": {"grace": epochs}},
        "confirm": {"top": 1, "seeds": size["seeds"], "references": False},
        "resources": {"cpu": 1, "gpu": 0, "concurrency": slots},
    }


def epoch_seconds(slots: int) -> float:
    """Seconds of an epoch where `slots` processes train side by side, the arms in turn."""
    arms = [("supcon", "ce")[slot % 2] for slot in range(slots)]
    with ProcessPoolExecutor(slots, multiprocessing.get_context("spawn")) as pool:
        return statistics.mean(pool.map(_epoch_seconds, arms))


def _epoch_seconds(arm: str) -> float:
    changes = {f"{part}.{key}": value for part, keys in BASE.items() for key, value in keys.items()}
    changes |= {"loss.name": arm, "run.threads": 1, "run.device": "cpu"}
    config = override(Config(), changes)
    run = Run(config, load_splits(config.data))
    run.train_epoch()  # warms up
    before = run.seconds
    for _ in range(4):
        run.train_epoch()
    return (run.seconds - before) / 4


# A search of its own


@dataclass(frozen=True)
class RunningSearch:
    """A search that was started from the command line, with a home of its own."""

    process: Program
    home: Path
    started: float
    """Seconds since 1970."""

    @property
    def log(self) -> Path:
        """The events of its study."""
        return self.home / "results" / NAME / "events.jsonl"

    @property
    def said(self) -> str:
        """All that it has printed."""
        return (self.home / "output.txt").read_text()

    def fail(self) -> NoReturn:
        """End this program, and show what the search has printed."""
        raise SystemExit(self.said)

    def pids(self) -> list[int]:
        """All processes that live."""
        return session_pids(self.process.pid)

    def wait_for(self, is_reached: Callable[[], bool]) -> None:
        """Wait until it is so, or until the search has ended."""
        while self.process.poll() is None and not is_reached():
            time.sleep(0.05)

    def kill(self) -> None:
        """End all that it started."""
        kill_session(self.process)


def session_pids(leader: int) -> list[int]:
    """The processes of a session that live. Ray's workers leave their group, but not that."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


def trial_pids(leader: int) -> list[int]:
    """The processes of a session that Ray has given to trials."""
    return [pid for pid in session_pids(leader) if any(t in command_of(pid) for t in TITLES)]


def command_of(pid: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill_session(leader: subprocess.Popen[bytes] | Program) -> None:
    """End a process that began a session, and all that it started."""
    while pids := session_pids(leader.pid):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        leader.poll()
        time.sleep(0.05)
    leader.wait()


@contextmanager
def own_home() -> Iterator[Path]:
    """A folder for a search's results, and for all that it and Ray keep."""
    home = Path(tempfile.mkdtemp(prefix="ss-", dir="/tmp"))  # short: Ray's sockets lie in it
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def start_search(
    home: Path, space: dict[str, Any], *flags: str, environment: Mapping[str, str] | None = None
) -> RunningSearch:
    """Start `PROGRAM` on a space."""
    (home / "space.yaml").write_text(yaml.safe_dump(space))
    own = dict.fromkeys(("HOME", "RAY_TMPDIR", "TMPDIR"), str(home))
    argv = [str(PROGRAM), "--space", "space.yaml", "--name", NAME, *flags]
    started = time.time()
    where = {**os.environ, **own, **(environment or {})}
    process = LAUNCH(argv, home, where, home / "output.txt")
    return RunningSearch(process, home, started)


@contextmanager
def running_search(
    space: dict[str, Any], *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningSearch]:
    """A search in a home of its own; at the end nothing is left of it, whatever happened."""
    with own_home() as home:
        running = start_search(home, space, *flags, environment=environment)
        try:
            yield running
        finally:
            running.kill()


# Where the time went


@dataclass(frozen=True)
class Turn:
    """A trial in its slot."""

    trial: Trial
    free: float
    """When the slot became free; for a phase's first trials: when the phase began."""
    end: float
    is_cold: bool

    @property
    def last(self) -> Report:
        """What the trial took is in its last report."""
        return self.trial.reports[-1]

    @property
    def start(self) -> float:
        """Seconds from when the trial could begin to its first step."""
        assert self.last.first_step is not None
        return self.last.first_step - max(self.trial.ask.time, self.free)


def turns(journal: Journal, phase: Phase, slots: int) -> list[Turn]:
    """A phase's trials, as they were asked for; each end makes room for the next of them."""
    trials = [trial for trial in journal.trials.values() if trial.ask.phase == phase]
    if odd := [trial.name for trial in trials if trial.outcome != "completed"]:
        raise SystemExit(f"not trained to the end: {', '.join(odd)}")
    ends = [trial.end.time for trial in trials if trial.end]
    free = [trials[0].ask.time] * slots + sorted(ends)
    return [
        Turn(trial, free[n], end, is_cold=(phase == "confirm") <= n < slots)
        for n, (trial, end) in enumerate(zip(trials, ends, strict=True))
    ]


def account(journal: Journal, slots: int, started: float, ended: float) -> dict[str, Any]:
    """Busy fractions, starts, and slot-seconds of everything between `started` and `ended`."""
    phases = [turns(journal, "search", slots), turns(journal, "confirm", slots)]
    done = [turn for phase in phases for turn in phase]
    begins = [phase[0].free for phase in phases]
    ends = [max(turn.end for turn in phase) for phase in phases]
    training = sum(turn.last.seconds for turn in done)
    evaluation = sum(turn.last.evaluation_seconds for turn in done)
    warm = [turn.start for turn in done if not turn.is_cold]
    cold = [turn.start for turn in done if turn.is_cold]
    spent = {
        "training": training,
        "evaluation": evaluation,
        "start of the driver and of Ray": slots * (begins[0] - started),
        "cold starts": sum(cold),
        "warm starts": sum(warm),
        "free slots before the next ask": sum(max(0, t.trial.ask.time - t.free) for t in done),
        "idle slots at the end of a phase": sum(_idle_at_the_end(p, slots) for p in phases),
        "between the phases": slots * (begins[1] - ends[0]),
        "test, report and end": slots * (ended - ends[1]),
    }
    whole = slots * (ended - started)
    # Less the making of each trial's first batch, which counts both as start and as training.
    spent["rest: checkpoints, logs, messages"] = whole - sum(spent.values())
    until_last = slots * (ends[1] - started)
    return {
        "busy_fraction": training / until_last,
        "busy_fraction_with_evaluation": (training + evaluation) / until_last,
        "busy_fraction_until_exit": training / whole,
        "start_seconds": statistics.median(warm),
        "start_seconds_max": max(warm),
        "cold_start_seconds": statistics.median(cold),
        "cold_start_seconds_max": max(cold),
        "training_seconds": training / len(done),
        "wall_seconds": {"until the last trial": until_last / slots, "until exit": whole / slots},
        "slot_seconds": spent,
    }


def _idle_at_the_end(phase: list[Turn], slots: int) -> float:
    """Slot-seconds in which a phase goes on, but has no trial left for a slot."""
    last = sorted([phase[0].free] * slots + [turn.end for turn in phase])[-slots:]
    return sum(last[-1] - end for end in last)


def _print_table(summary: dict[str, Any]) -> None:
    whole = sum(summary["slot_seconds"].values())
    print(f"\n{'':36s}{'slot-s':>8s}{'%':>8s}")
    for name, seconds in summary["slot_seconds"].items():
        print(f"{name:36s}{seconds:8.1f}{100 * seconds / whole:8.2f}")
    print(f"\n{'':36s}{'median':>8s}{'max':>8s}")
    for name in ("start_seconds", "cold_start_seconds"):
        print(f"{name:36s}{summary[name]:8.2f}{summary[name + '_max']:8.2f}")
    for name, value in summary.items():
        if name.startswith(("busy", "epoch_")):
            print(f"{name:36s}{value:8.3f}")


if __name__ == "__main__":
    main()
