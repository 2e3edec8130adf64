"""A search as a job that its queue takes back, and starts again by the same line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from search.log.journal import Journal
from tests.programs import Fresh
from tests.whole.searching import (
    DIGITS,
    QUICK_RUN,
    ROOT,
    SMALL,
    finish,
    processes,
    start,
    story,
    wait_for,
)
from tests.without_ray import searched

pytestmark = pytest.mark.slow

FEW = [*SMALL, "--trials", "2"]
REPORT = '"event":"report"'
SCONTROL = '#!/bin/sh\necho "$@" >> {0}/asked\n'


def job(tmp_path: Path) -> str:
    """The script of docs/cluster.md, for a search on digits."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    (script,) = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", text, re.S)
    changes = {
        "cd /shared/supcon-search": f"cd {ROOT}",
        "python search/run.py": f"{sys.executable} {QUICK_RUN}",
        "--space spaces/cifar100.yaml": f"--space {DIGITS} {shlex.join(FEW)}",
        "/shared/results": str(tmp_path),
        "/shared/mine.txt": f"{tmp_path}/mine.txt",
    }
    for old, new in changes.items():
        assert old in script
        script = script.replace(old, new)
    return script


def test_a_job_goes_back_into_the_queue_and_ends_with_a_verdict(home: Path, tmp_path: Path) -> None:
    script, log = job(tmp_path), tmp_path / "mine" / "events.jsonl"
    (tmp_path / "scontrol").write_text(SCONTROL.format(tmp_path))
    (tmp_path / "scontrol").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    where = {"HOME": str(home), "RAY_TMPDIR": str(home), "PATH": path, "SLURM_JOB_ID": "7"}

    def submit(name: str) -> Fresh:
        return Fresh(["-c", script], ROOT, os.environ | where, tmp_path / name, "bash")

    running = submit("first")
    wait_for(running, log, lambda text: '"outcome":"completed"' in text)
    running.send_signal(signal.SIGUSR1)  # as Slurm does with --signal=B:USR1
    code, output = finish(running)
    assert code == 75, output
    assert "stopping at the next record; asked by SIGUSR1" in output
    assert "Traceback" not in output
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert (tmp_path / "mine" / "report.html").exists()
    assert not (tmp_path / "mine.txt").exists()
    first = story(tmp_path / "mine")
    code, output = finish(submit("second"))
    assert code == 0, output
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert story(tmp_path / "mine")[: len(first)] == first
    ends = [event[1] for event in story(tmp_path / "mine") if event[0] == "end"]
    assert len(ends) == len(set(ends)) == 2 * (2 + 3)
    assert re.match(r"These two .*report\.html$", (tmp_path / "mine.txt").read_text(), re.S)


def has_more_reports(before: str, now: str) -> bool:
    return now.count(REPORT) > before.count(REPORT)


def test_signals_to_every_process_of_a_job_lose_nothing(home: Path, tmp_path: Path) -> None:
    flags = [*FEW, "--continue"]
    log = tmp_path / "digits" / "events.jsonl"
    for number in (signal.SIGUSR1, signal.SIGTERM):
        before = log.read_text() if log.exists() else ""
        process = start(home, tmp_path, *flags, program=QUICK_RUN)
        wait_for(process, log, partial(has_more_reports, before))
        for pid in sorted(processes(process.pid)):
            os.kill(pid, number)
        code, output = finish(process)
        assert code == 75, output
        assert f"asked by {number.name}" in output
        assert "Traceback" not in output
    code, output = searched("--space", DIGITS, "--results", str(tmp_path), *flags)
    assert code == 0, output
    trials = Journal.open(log).trials.values()
    assert len(trials) == 2 * (2 + 3)
    assert {trial.outcome for trial in trials} <= {"completed", "stopped"}
