"""A Ray cluster on this machine that loses nodes, gets new ones, and whose searches are killed.

    python -m tests.benchmarks.cluster           # ten minutes on 2 CPU cores
    python -m tests.benchmarks.cluster --each 1  # a run that is disturbed three times

Each node is what `ray start` starts, with a session of its own, on 127.0.0.1. A search through the
command line begins on two nodes; in the middle a node is killed with all that runs on it, a node
joins, and the search itself is killed and resumed, each so many times, in an order that is drawn.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.log.events import Event
from tests.benchmarks.reliability import SPACE, finished, has_lines, lines, tally
from tests.benchmarks.search import ROOT, kill_session, own_home, start_search, trial_pids
from tests.programs import Fresh, Program

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
RAY = str(Path(sys.executable).with_name("ray"))
DISTURBANCES = ("removed", "joined", "driver")
# Longer trials than elsewhere: a trial that takes a second never waits for a new node's worker.
LONGER = {
    **SPACE,
    "base": {**SPACE["base"], "data": {"name": "digits", "pipeline": "resident"},
             "run": {"epochs": 9, "precision": "fp32"}},
}  # fmt: skip


def main() -> None:
    """Run, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cluster")
    parser.add_argument("--each", type=int, default=2, help="disturbances of each kind in a run")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    rows = []
    for seed in range(options.runs):
        rows.append(chaos(options.each, seed))
        print("   ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    print(f"\n{json.dumps(rows)}")


class Cluster:
    """Nodes on this machine; the first one has no room for trials."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.2", 0))
            self.address = f"127.0.0.2:{free.getsockname()[1]}"
        self.home = home
        self.nodes: list[Program] = []
        self.started = 0
        (home / ".ray").mkdir()
        token = home / ".ray" / "auth_token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        port = self.address.partition(":")[2]
        self._start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")

    def add(self, cpus: int = 1, gpus: int = 0) -> Program:
        """Another node, once it has joined."""
        return self._start(f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}")

    def remove(self, node: Program) -> None:
        """Kill a node and all that runs on it, as when a machine is switched off."""
        kill_session(node)
        self.nodes.remove(node)

    def close(self) -> None:
        """End all of them, the first one last."""
        for node in reversed(list(self.nodes)):
            self.remove(node)

    def has_worker(self, node: Program) -> bool:
        """Whether a trial's process runs on a node."""
        return bool(trial_pids(node.pid))

    def _start(self, *flags: str) -> Program:
        self.started += 1
        # A folder of its own, as on a machine of its own: nodes remove files that they share.
        temporary = self.home / f"n{self.started}"
        log = self.home / f"n{self.started}.txt"
        own = dict.fromkeys(("HOME", "TMPDIR"), str(self.home))
        argv = [RAY, "start", "--block", *flags, f"--temp-dir={temporary}"]
        argv += ["--node-ip-address=127.0.0.2", "--object-store-memory=300000000"]
        where = {**os.environ, **own, **TOKEN, "PYTHONPATH": str(ROOT)}
        node = Fresh([*argv, "--disable-usage-stats"], self.home, where, log)
        self.nodes.append(node)
        for _ in range(1200):
            if b"Ray runtime started" in log.read_bytes():
                return node
            if node.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"a node did not start:\n{log.read_text()}")


@contextmanager
def cluster(home: Path) -> Iterator[Cluster]:
    """A cluster of which nothing is left at the end."""
    found = Cluster(home)
    try:
        yield found
    finally:
        found.close()


def chaos(each: int, seed: int, trials: int = 8, *flags: str) -> dict[str, Any]:
    """Disturb a search so many times in each way; what was done, lost and repeated.

    Args:
        each: how many times in each way.
        seed: of the order.
        trials: of each arm.
        flags: more of the command line.
    """
    rng = np.random.default_rng([seed, each])
    order = rng.permutation(DISTURBANCES * each)
    done: Counter[str] = Counter()
    with own_home() as home, cluster(home) as nodes:
        workers = [nodes.add(), nodes.add()]
        flags = ("--address", nodes.address, "--trials", str(trials), *flags)
        running = start_search(home, LONGER, *flags, environment=TOKEN)
        used = 0
        try:
            for what in order:
                step = int(rng.integers(4, 10))
                running.wait_for(partial(has_lines, running.log, lines(running.log) + step))
                if running.process.poll() is not None:
                    break
                if what == "removed":
                    if len(workers) < 2:  # the search would wait, and so would we
                        workers.append(nodes.add())
                    node = workers.pop(int(rng.integers(len(workers))))
                    running.wait_for(partial(nodes.has_worker, node))  # it must hurt
                    nodes.remove(node)
                    if running.process.poll() is not None:
                        break
                elif what == "joined":
                    workers.append(nodes.add())
                    running.wait_for(partial(nodes.has_worker, workers[-1]))
                    used += nodes.has_worker(workers[-1])
                else:
                    running.process.kill()
                    running.kill()
                    running = start_search(home, LONGER, "--resume", *flags, environment=TOKEN)
                done[what] += 1
            running.process.wait()
        finally:
            running.kill()
        events: list[Event] = finished(running)
    return {**{what: done[what] for what in DISTURBANCES}, "late nodes used": used, **tally(events)}


if __name__ == "__main__":
    main()
