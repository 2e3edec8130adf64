"""Where to look at a search, and `--watch`: TensorBoard and optuna-dashboard beside it.

Both only read what the search has written. They answer on the loopback address unless asked
otherwise, and end with the search, however it ends, unless they are to be kept. A search goes on
without them if they do not start.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from search.log.folder import StudyFolder
from search.log.surroundings import LOOPBACK
from search.monitor.servers import NotStarted, Server, end, serve

LABELS = {"tensorboard": "curves", "optuna-dashboard": "trials"}


@dataclass(frozen=True)
class Watch:
    """What the command line asks for."""

    host: str = LOOPBACK
    """Address that everything listens on, Ray's dashboard too."""
    keep: bool = False
    """Whether TensorBoard and optuna-dashboard outlive the search."""


@contextmanager
def watching(
    watch: Watch | None, study: StudyFolder, dashboard: str, metrics: str
) -> Iterator[None]:
    """Say where a search can be looked at; with `--watch`, start what that takes, until the end.

    Args:
        watch: what is asked for; None starts nothing.
        study: the folder of the study.
        dashboard: the URL of Ray's dashboard, or nothing.
        metrics: the URL of Ray's metrics.
    """
    if dashboard:
        print(f"dashboard {dashboard} (token: ray get-auth-token)", flush=True)
    if watch is None:
        print(f"curves    tensorboard --logdir {study.tensorboard}", flush=True)
        yield
        return
    servers: list[Server] = []
    try:
        for name in LABELS:
            servers += _open(name, study, watch)
        print(f"metrics   {metrics} (for Prometheus, without a token)")
        print(f"laptop    {tunnel([dashboard, *(s.url for s in servers)])}", flush=True)
        yield
    finally:
        if watch.keep:
            _say_what_stays(servers)
        else:
            end(servers)


def _open(name: str, study: StudyFolder, watch: Watch) -> list[Server]:
    """A program; none if it cannot be started."""
    try:
        server = serve(name, study, watch.host, keep=watch.keep)
    except NotStarted as error:
        print(f"{LABELS[name]:9s} without {name}: {error}", flush=True)
        return []
    print(f"{LABELS[name]:9s} {server.url} ({name}, pid {server.process.pid})", flush=True)
    return [server]


def _say_what_stays(servers: list[Server]) -> None:
    for server in servers:
        print(f"kept      {server.name} {server.url}; end it with: kill {server.process.pid}")
    print("          Ray's dashboard does not stay, unless it is that of a cluster")


def tunnel(urls: list[str]) -> str:
    """The command that makes these pages reachable from another machine, at the same ports."""
    me = socket.gethostname()
    forwards = []
    for parts in (urlsplit(url) for url in urls if url):
        host = LOOPBACK if parts.hostname in (me, "0.0.0.0") else parts.hostname
        forwards.append(f"-L {parts.port}:{host}:{parts.port}")
    return f"ssh -N {' '.join(forwards)} {getpass.getuser()}@{me}"
