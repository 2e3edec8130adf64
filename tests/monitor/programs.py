"""Small programs that stand for TensorBoard and optuna-dashboard, which take seconds to start."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from search.log.folder import StudyFolder
from search.monitor import servers

PORTS = dict.fromkeys(servers.PORTS, 0)  # any free one: tests run side by side
PAGE = """import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, bind=sys.argv[1], port=int(sys.argv[2]))"""


def command(name: str, study: StudyFolder, host: str, port: int) -> list[str]:
    return [sys.executable, "-c", PAGE, host, str(port), name]


def is_alive(pid: int) -> bool:
    """Whether it runs; a process that has ended and was not asked for does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    for _ in range(200):
        if not is_alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} still runs")
