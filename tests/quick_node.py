"""`ray` for clusters in tests that look at trials alone: nodes with workers that are forks, without
what collects logs, and the first one without autoscaler, dashboard and Ray Client, each a process
and seconds of a CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    from tests.whole.workers import fork_workers

    fork_workers()

    from ray._private.node import Node
    from ray.scripts.scripts import main

    with (
        mock.patch.object(Node, "start_log_monitor"),
        mock.patch.object(Node, "start_monitor"),
        mock.patch.object(Node, "start_api_server"),
        mock.patch.object(Node, "start_ray_client_server"),
    ):
        sys.exit(main())
