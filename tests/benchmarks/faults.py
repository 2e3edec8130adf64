"""What a search survives: each write, fsync, rename and mkdir of it fails once.

    python -m tests.benchmarks.faults                 # half an hour on a CPU core; needs gcc
    python -m tests.benchmarks.faults --every 40      # a minute: only that it runs
    python -m tests.benchmarks.faults --kills 140     # kills instead of faults

A small library (`fault.c`) that is loaded before all others makes a call fail with ENOSPC, EIO or
EACCES, in turn. A whole search on bundled digits, from its command line to its report, is run once
for each point: everything that the search does but Ray, in whose place trials run one after the
other in the same process, and t-SNE, which writes nothing. A search that does not end well is
started again with the same line. Its log must then be that of a search that nobody disturbed, line
for line apart from times, and so must its verdict. Points are named by call and file; of those that
are called for many trials, the first and the last time count, of the log every time. The last line
is JSON.

With --kills such searches are killed instead, after times that are drawn, from their first check to
their last file, and started again by the same line until they have ended.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.without_ray import Search

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
RECORD = 256
ROOT = Path(__file__).resolve().parents[2]
STARTS = 3  # of one search, after which it should have ended


def main() -> None:
    """Run, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.faults")
    parser.add_argument("--every", type=int, default=1, help="only every so many points")
    parser.add_argument("--first", type=int, default=0, help="begin with that one")
    parser.add_argument("--kills", type=int, help="kill searches so often, and make nothing fail")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    options = parser.parse_args()
    if options.kills:
        with tempfile.TemporaryDirectory() as folder:
            found = kill_often(Path(folder).resolve(), options.kills, options.seed)
        print(json.dumps(found))
        return
    if "LD_PRELOAD" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            sys.exit(preloaded(Path(folder), sys.argv[1:]))
    with tempfile.TemporaryDirectory() as folder:
        rows = list(try_all(Path(folder).resolve(), options.first, options.every))
    print(json.dumps(summary(rows)))


def preloaded(folder: Path, arguments: Sequence[str]) -> int:
    """This command again, with the library that makes calls fail; its exit code."""
    library = folder / "fault.so"
    source = str(Path(__file__).with_name("fault.c"))
    compile_ = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"]
    subprocess.run(compile_, check=True)
    command = [sys.executable, "-m", "tests.benchmarks.faults", *arguments]
    where = os.environ | {"LD_PRELOAD": str(library)}
    return subprocess.run(command, cwd=ROOT, env=where).returncode


@dataclass(frozen=True)
class Point:
    """A call that is to fail."""

    call: str
    """Call and file, with names of trials left out: `write trials/*/log.txt`."""
    index: int
    """Of the call among all of a search."""


@dataclass(frozen=True)
class Found:
    """What came of it."""

    point: Point
    error: str
    codes: list[int]
    """Exit codes; the last is 0."""
    lines: list[str]
    """What was said of it."""
    problems: list[str]


def armed(search: Search, calls: Path, at: int, how: int) -> dict[str, str]:
    """What tells the library which call of a search fails, and how; at -1 they are only counted."""
    return {
        "FAULT_ROOT": str(search.results), "FAULT_LOG": str(calls), "FAULT_AT": str(at),
        "FAULT_ERRNO": str(how),
    }  # fmt: skip


def try_all(folder: Path, first: int, every: int) -> Iterator[Found]:
    """A search for each point, and one before that nobody disturbs."""
    undisturbed, calls = Search(folder / "none"), folder / "calls"
    assert undisturbed.run(armed(undisturbed, calls, -1, 0)) == (0, []), undisturbed.said
    points = points_of(calls)
    print(f"{len(points)} points of {len(records(calls))} calls", flush=True)
    for n, point in enumerate(points):
        if n < first or (n - first) % every:
            continue
        began = time.monotonic()
        found = try_one(folder, undisturbed, point, ERRORS[n % len(ERRORS)])
        print(
            f"{n:4d} {found.point.call:44s} {found.error:7s} exit {found.codes} "
            f"{time.monotonic() - began:4.1f} s  {'; '.join(found.problems) or 'ok'}"
            f"{''.join(chr(10) + '       ' + line[:180] for line in found.lines)}",
            flush=True,
        )
        yield found


def try_one(folder: Path, undisturbed: Search, point: Point, how: int) -> Found:
    """Run a search in which one call fails until it has ended, and compare it."""
    search, calls = Search(folder / "one"), folder / "these"
    calls.unlink(missing_ok=True)
    code, lines = search.run(armed(search, calls, point.index, how))
    codes, problems = [code], list[str]()
    made = records(calls)
    if point.index >= len(made):
        problems.append("never reached")
    elif plain(made[point.index]) != point.call:
        problems.append(f"was {plain(made[point.index])}")
    if "Traceback" in search.said:
        problems.append("a trace")
    if code and not lines:
        problems.append("nothing was said")
    while codes[-1] and len(codes) < STARTS:
        codes.append(search.run()[0])
    problems += search.unlike(undisturbed)
    shutil.rmtree(search.results, ignore_errors=True)
    return Found(point, errno.errorcode[how], codes, lines, problems)


def kill_often(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill searches after times that are drawn; each ends at last, as if undisturbed."""
    rng, done, problems = np.random.default_rng(seed), 0, list[str]()
    whole = Search(folder / "none")
    began = time.monotonic()
    assert os.waitpid(whole.fork(), 0)[1] == 0
    longest, searches = 0.6 * (time.monotonic() - began), 0
    while done < kills:
        search = Search(folder / "one")
        while True:
            pid, delay = search.fork(), float(rng.uniform(0, longest))
            if ended(pid, delay):
                break
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            done += 1
        searches += 1
        found = search.unlike(whole)
        print(f"{searches} searches, {done} kills  {'; '.join(found) or 'ok'}", flush=True)
        problems += found
        shutil.rmtree(search.results)
    return {"searches": searches, "kills": done, "problems": problems}


def ended(pid: int, seconds: float) -> bool:
    """Whether a process ends well within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            assert status == 0, status
            return True
        time.sleep(0.005)
    return False


def records(calls: Path) -> list[str]:
    """Every watched call in order."""
    text = calls.read_bytes().decode()
    return [text[i : i + RECORD].strip() for i in range(0, len(text), RECORD)]


def plain(record: str) -> str:
    """A call and its file, whichever trial and process it is of."""
    record = re.sub(r"(supcon|ce)-((pick|confirm)-)?\d+", r"*", record)
    record = re.sub(r"tfevents\.[^ ]*", "tfevents", record)
    return re.sub(r"^(\w+) \.x\.\d+", r"\1 .x", record)


def points_of(calls: Path) -> list[Point]:
    """The points: of the log every call, of other files the first and the last."""
    names = [plain(record) for record in records(calls)]
    last = {name: i for i, name in enumerate(names)}
    seen: Counter[str] = Counter()
    found = []
    for i, name in enumerate(names):
        seen[name] += 1
        if name.endswith("events.jsonl") or seen[name] == 1 or last[name] == i:
            found.append(Point(name, i))
    return found


def summary(rows: list[Found]) -> dict[str, Any]:
    """Counts for the record."""
    return {
        "points": len(rows),
        "went_on": sum(row.codes == [0] for row in rows),
        "stopped_and_resumed": sum(len(row.codes) > 1 and not row.problems for row in rows),
        "problems": [
            f"{row.point.call}: {'; '.join(row.problems)}" for row in rows if row.problems
        ],
    }


if __name__ == "__main__":
    main()
