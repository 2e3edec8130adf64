"""`search/run.py` for tests that look at trials alone, with workers that are forks.

It is without Ray's dashboard, its autoscaler and what collects its logs, each of which takes some
processes, and seconds of a CPU, and looks at a few images beyond scores. With RAYS_PAGES in the
environment Ray is as it is. With TRIALS_REST a trial rests so many seconds after each epoch: it
takes its time, but none of a CPU.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    from tests.whole.workers import fork_workers

    fork_workers()

    from ray._private.node import Node

    from search.engine import session
    from search.engine.trial_actor import SupConTrial
    from search.run import main
    from supcon.train import Record
    from tests.whole.reduced import reduced

    of_a_local_ray = session._of_a_local_ray
    REST = float(os.environ.get("TRIALS_REST", "0"))

    class Resting(SupConTrial):
        """Of this file, so that Ray sends it to the workers as it is."""

        def _train(self, gpu: float, memory: float) -> Iterator[Record]:
            for record in SupConTrial._train(self, gpu, memory):
                yield record
                time.sleep(REST)

    def without_dashboard(host: str, images: int) -> dict[str, Any]:
        return of_a_local_ray(host, images) | {"include_dashboard": False}

    with ExitStack() as patches:
        enter = patches.enter_context
        if REST:
            enter(mock.patch("search.engine.tuner.SupConTrial", Resting))
        if "RAYS_PAGES" not in os.environ:
            enter(mock.patch.object(session, "_of_a_local_ray", without_dashboard))
            for part in ("monitor", "log_monitor", "api_server"):
                enter(mock.patch.object(Node, f"start_{part}"))
        enter(reduced())
        code = main()
    sys.exit(code)
