"""Programs that tests start, each the leader of a session: fresh ones, and forks.

To load torch, timm and Optuna takes seconds of a CPU, which most tests that start a search do not
look at. A fork of a process that has loaded them is otherwise as the program would be: arguments,
folder, environment, session, output and signals are its own. What Python reads when it starts, and
libraries when they are loaded, is that of the tests, but for Ray, which each program loads itself.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.preloaded"])


class Fresh(subprocess.Popen[bytes]):
    """A program in an interpreter of its own."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        output: Path,
        interpreter: str = sys.executable,
    ) -> None:
        """Start it; arguments as of `Forked`."""
        self.output = output
        with output.open("ab") as file:
            super().__init__(
                [interpreter, *argv], cwd=cwd, env=environment, start_new_session=True,
                stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip


class Forked:
    """A program that begins with most imports done; it can be used as a `subprocess.Popen`."""

    def __init__(
        self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str], output: Path
    ) -> None:
        """Start a program.

        Args:
            argv: its file and arguments.
            cwd: its folder.
            environment: all of it.
            output: a file, which it appends all to that it says; or a terminal, which it reads.
        """
        self.output = output
        self.output.touch()
        arguments = (list(argv), str(cwd), dict(environment), str(output.resolve()))
        # A daemon: one that a failed test has left is ended with the tests.
        self._process = SERVER.Process(target=_become, args=arguments, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """As it was last asked for."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.output), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


Program = Fresh | Forked


def _become(argv: list[str], cwd: str, environment: dict[str, str], output: str) -> None:
    """Be the program, in a process that was just forked."""
    multiprocessing.current_process().daemon = False  # it may start others
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(output, os.O_RDWR | os.O_APPEND | os.O_NOCTTY)
    for standard in range(3) if os.isatty(file) else (1, 2):
        os.dup2(file, standard)
    os.close(file)
    tempfile.tempdir = None  # may have been found by another environment
    multiprocessing.set_start_method(None, force=True)  # the default
    sys.argv = argv
    paths = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [str(Path(argv[0]).parent), *paths]
    try:
        runpy.run_path(argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
