"""TensorBoard and optuna-dashboard as processes: started and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from search.log.folder import StudyFolder
from search.log.surroundings import LOOPBACK

PORTS = {"tensorboard": 6006, "optuna-dashboard": 8080}
START_SECONDS = 60.0
END_SECONDS = 5.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by way of a proxy
# A search that is killed cannot end them; Linux does, if asked to (1 is PR_SET_PDEATHSIG).
TETHER = """import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class NotStarted(Exception):
    """A program does not serve; the message says why."""


@dataclass(frozen=True)
class Server:
    """A program that serves a page about a study."""

    name: str
    host: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{socket.gethostname() if self.host == '0.0.0.0' else self.host}:{self.port}"


def serve(name: str, study: StudyFolder, host: str, *, keep: bool) -> Server:
    """Start a program for a study, and wait until it answers.

    Args:
        name: one of `PORTS`.
        study: the study's folder; the program's output goes to `watch-<name>.log` there.
        host: the address to listen on.
        keep: whether it outlives this process.

    Raises:
        NotStarted: it ended at once, or does not answer.
    """
    port = free_port(host, PORTS[name])
    arguments = command(name, study, host, port)
    is_tethered = not keep and sys.platform == "linux"
    tether = [sys.executable, "-c", TETHER, str(os.getpid())] if is_tethered else []
    log = study.path / f"watch-{name}.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                tether + arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,  # a terminal's Ctrl-C ends the search first, then this
            )  # fmt: skip
    except OSError as error:
        raise NotStarted(str(error)) from error
    server = Server(name, host, port, process)
    try:
        _wait_until_it_answers(server, log)
    except BaseException:
        end([server])
        raise
    return server


def command(name: str, study: StudyFolder, host: str, port: int) -> list[str]:
    """The command line of a program; -P: no module is looked for in the current folder."""
    python, where = [sys.executable, "-P", "-m"], ["--host", host, "--port", str(port)]
    study = StudyFolder(study.path.resolve())
    if name == "tensorboard":
        return [*python, "tensorboard.main", "--logdir", str(study.tensorboard), *where]
    return [*python, "optuna_dashboard._cli", f"sqlite:///{study.database}", *where]


def free_port(host: str, usual: int) -> int:
    """The usual port, or another one if that is taken."""
    for port in (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind((host, port))
            except OSError as error:
                if port == 0:
                    raise NotStarted(f"nothing can listen on {host} ({error.strerror})") from error
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("unreachable")


def _wait_until_it_answers(server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            lines = log.read_text(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "without a word")
            raise NotStarted(f"{last.strip()[:200]}; all it said: {log}")
        if answers(server):
            return
        time.sleep(0.1)
    raise NotStarted(f"does not answer within {START_SECONDS:g} s; what it said: {log}")


def answers(server: Server) -> bool:
    """Whether a server does."""
    host = LOOPBACK if server.host == "0.0.0.0" else server.host
    try:
        with DIRECT.open(f"http://{host}:{server.port}", timeout=5) as answer:
            return int(answer.status) == 200
    except (OSError, HTTPException):  # the second: something that does not speak HTTP
        return False


def end(servers: list[Server]) -> None:
    """End processes that this one has started, and what they have started."""
    processes = [server.process for server in servers]
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
