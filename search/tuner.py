"""Ray: a session, and a Tuner that runs trials over the log. The only file tied to Ray's version.

Every start is a fresh Tuner; Ray's own snapshots go to a temporary folder and are never read.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing phones home unless asked to
# By itself, Ray asks for a token where it starts a cluster, but offers none to one that it joins.
os.environ.setdefault("RAY_AUTH_MODE", "token")
# Ray would bind to the machine's address in spite of 127.0.0.1 without this.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the event log replaces them
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is handled here
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints a table even at verbose=0
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_FORCE_TRIAL_CLEANUP_S", "60")  # a stopped trial ends its epoch first
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "4096")  # Room says how many may start
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # trials say cpu themselves

import ray
from ray import tune
from ray.exceptions import RayError

from search.events import Ask, End
from search.journal import Journal
from search.resources import Node, Share, room, smallest_share
from search.scheduler import LoggedAsha
from search.searcher import TrialSource
from search.space import Phase, Space
from search.trainable import SupConTrial
from supcon.parsing import UserError, one_line

ROOT = Path(__file__).resolve().parent.parent
NODES_SECONDS = 1.0  # how old what is known about the nodes may be


class Interrupt:
    """Ctrl-C once asks for a stop at the next record; twice ends at once."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping at the next record; press Ctrl-C again to stop at once", flush=True)

    @contextmanager
    def installed(self) -> Iterator[Interrupt]:
        """Handle SIGINT and SIGTERM this way inside the block."""
        before = {s: signal.signal(s, self) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class StopAll(tune.Stopper):
    """Ends all trials of a Tuner once an interrupt was requested, or the time is up.

    Ray asks ten times a second, whatever happens; `poll` is called each time.
    """

    def __init__(
        self, interrupt: Interrupt, is_time_up: Callable[[], bool], poll: Callable[[], None]
    ) -> None:
        self.interrupt, self.is_time_up, self.poll = interrupt, is_time_up, poll

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stops a single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether to end all."""
        self.poll()
        return self.interrupt.requested or self.is_time_up()


@contextmanager
def ray_session(address: str | None) -> Iterator[str]:
    """A local Ray, or a connection to the cluster at `address`; yields the dashboard's URL."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    code = None
    if address is None:
        # Workers import `search` and `supcon` also when the command runs in another folder.
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        options |= {"address": "local", "include_dashboard": True, "dashboard_host": "127.0.0.1"}
    else:
        code = copy_of_our_code()
        options |= {"address": address, "runtime_env": {"working_dir": code}}
    try:
        context = ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, OSError, RayError) as error:
        raise UserError(
            f"--address {address or 'local'}: Ray cannot be reached ({one_line(error)[:300]})"
        ) from error
    finally:
        if code is not None:  # it lies in the cluster now
            shutil.rmtree(code)
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def copy_of_our_code() -> str:
    """A folder to be sent to the nodes of a cluster, which then need the dependencies only.

    As their working folder, it comes before any other copy of our code that they may have.
    """
    folder = tempfile.mkdtemp(prefix="supcon-search-")
    for package in ("search", "supcon"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, Path(folder) / package, ignore=ignore)
    return folder


def run_trials(
    space: Space,
    journal: Journal,
    data: Any,
    phases: Sequence[Phase],
    next_trial: Callable[[], Ask | None],
    interrupt: Interrupt,
    is_time_up: Callable[[], bool],
    poll: Callable[[], None],
) -> None:
    """Run the phases' unfinished trials and then new ones, until there are none, Ctrl-C, or the
    time is up.

    Args:
        space: the search space.
        journal: the log of the study.
        data: a reference to the images in Ray's object store.
        phases: what the trials are for.
        next_trial: the next trial of the phase, or None.
        interrupt: Ctrl-C.
        is_time_up: whether they must end.
        poll: called several times a second meanwhile.
    """
    scratch = tempfile.mkdtemp(prefix="supcon-search-")
    asha = LoggedAsha(space, journal)
    source = TrialSource(space, journal, phases, next_trial, Room(space), asha.errors)
    stop = StopAll(interrupt, lambda: is_time_up() or journal.broken is not None, poll)
    tuner = _tuner(journal, data, source, asha, stop, scratch)
    ray_logger = logging.getLogger("ray.tune.execution.tune_controller")
    ray_logger.addFilter(is_worth_saying := lambda _: journal.broken is None)
    try:
        tuner.fit()
    except Exception:  # Ray wraps and prints what a log that cannot be written raised
        if journal.broken is None:
            raise
    finally:
        ray_logger.removeFilter(is_worth_saying)
        shutil.rmtree(scratch, ignore_errors=True)
    if journal.broken is not None:
        raise journal.broken


def _tuner(
    journal: Journal, data: Any, source: TrialSource, asha: LoggedAsha, stop: StopAll, scratch: str
) -> tune.Tuner:
    study = journal.path.parent.resolve()
    trainable = tune.with_resources(
        tune.with_parameters(SupConTrial, data=data, study=study),
        lambda trial: {"cpu": trial["cpu"], "gpu": trial["gpu"]},
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=source,
            scheduler=asha,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["name"],
            trial_dirname_creator=lambda trial: trial.config["name"],
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=scratch,
            verbose=0,
            stop=stop,
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0, checkpoint_at_end=False
            ),
        ),
    )


def remove_checkpoint(journal: Journal, event: Any) -> None:
    """A trial that has ended is never resumed; its checkpoint would only fill the disk."""
    if isinstance(event, End):
        name = journal.trials[event.key].name
        (journal.path.parent / "trials" / name / "last.pt").unlink(missing_ok=True)


class Room:
    """How many trials there is room for, on the nodes that the cluster has at the time."""

    def __init__(self, space: Space) -> None:
        self.resources = space.resources
        self.limit = space.resources.concurrency
        self.nodes, self.seen = alive_nodes(), time.monotonic()

    def __call__(self, taken: Sequence[Share]) -> bool:
        """Whether another trial may start beside those that have taken shares."""
        if self.limit is not None and len(taken) >= self.limit:
            return False
        if time.monotonic() - self.seen > NODES_SECONDS:
            self.nodes, self.seen = alive_nodes(), time.monotonic()
        return room(self.nodes, taken, smallest_share(self.resources)) > 0


def alive_nodes() -> list[Node]:
    """The cluster's nodes; others may join, and these may leave."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(node.get("CPU", 0), node.get("GPU", 0)) for node in found]


def concurrency(space: Space) -> int:
    """Trials that run at once: as asked for, but never more than there is room for now."""
    want, nodes = smallest_share(space.resources), alive_nodes()
    slots = room(nodes, [], want)
    if slots < 1:
        cpus = max((node.cpus for node in nodes), default=0)
        gpus = max((node.gpus for node in nodes), default=0)
        raise UserError(
            f"resources: a trial wants cpu {want.cpu:g} and gpu {want.gpu:g}, but Ray's largest "
            f"nodes have {cpus:g} CPUs and {gpus:g} GPUs; set --cpus-per-trial or --gpus-per-trial"
        )
    return min(slots, space.resources.concurrency or slots)
