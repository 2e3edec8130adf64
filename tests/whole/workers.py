"""Workers of Ray as forks of a process that has loaded torch, timm and what else trials need.

Ray starts a program for each worker, which loads Ray twice and then, sent a trial, all of that:
five seconds of a CPU. After `fork_workers` what Ray starts is this file, which has a fork of the
process that started Ray fork once more. In all else such a worker is as it would be: arguments,
folder, environment, output, session and signals are its own, and so is code that a cluster was
sent.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from typing import NoReturn

NAME = "FORKS_WORKERS"
"""The variable that says where somebody forks them."""
DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # as Ray and `deaf_children` make workers
OURS = ("search", "supcon", "tests")


def fork_workers() -> None:
    """From now on all workers of a Ray that this process starts are forks; Ray is loaded here."""
    import tests.preloaded  # noqa: F401

    os.environ[NAME] = f"workers of {os.getpid()}"
    lifeline, end = os.pipe()  # it closes when this process ends, however that comes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{os.environ[NAME]}")
        listener.listen(64)
        if os.fork() == 0:
            os.close(end)
            _serve(listener, lifeline)
    os.close(lifeline)

    from ray._private import ray_constants

    ray_constants.SETUP_WORKER_FILENAME = __file__


def _serve(listener: socket.socket, lifeline: int) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, DEAF)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers
    while lifeline not in select.select([listener.fileno(), lifeline], [], [])[0]:
        asked, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _become(asked)
        asked.close()
    os._exit(0)


def _become(asked: socket.socket) -> NoReturn:
    """Be a worker, in a process that was just forked."""
    os.setpgrp()
    _, files, _, _ = socket.recv_fds(asked, 1, 2)
    for standard, file in zip((1, 2), files, strict=True):
        os.dup2(file, standard)
        os.close(file)
    code = 1
    try:
        with asked.makefile() as rest:
            _run(*json.load(rest))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)  # `asked` was open until now


def _run(argv: list[str], folder: str, environment: dict[str, str]) -> None:
    """What Ray's setup_worker.py does, but for the start of another Python."""
    import runpy

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)

    from ray._private.runtime_env.context import RuntimeEnvContext
    from ray._private.utils import update_envs
    from ray._private.workers.setup_worker import parser

    known, sys.argv = parser.parse_known_args(argv)
    context = RuntimeEnvContext.deserialize(known.serialized_runtime_env_context or "{}")
    update_envs(context.env_vars)
    if context.command_prefix:  # a working folder, with code of its own
        cd, folder, then = context.command_prefix
        assert (cd, then) == ("cd", "&&")
        os.chdir(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [os.path.dirname(sys.argv[0]), *filter(None, paths)]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _ask() -> None:
    """Have a worker forked, and end when it does."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"\0{os.environ[NAME]}")
        socket.send_fds(server, [b" "], [1, 2])
        server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
        server.shutdown(socket.SHUT_WR)
        server.recv(1)


if __name__ == "__main__":
    _ask()
