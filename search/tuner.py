"""Ray: a session, and a Tuner that runs trials over the log. The only file tied to Ray's version.

Every start is a fresh Tuner; Ray's own snapshots go to a temporary folder and are never read.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing phones home unless asked to
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the event log replaces them
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is handled here
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints a table even at verbose=0
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_FORCE_TRIAL_CLEANUP_S", "60")  # a stopped trial ends its epoch first
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # trials say cpu themselves

import ray
from ray import tune
from ray._private import ray_constants

from search.auth_token import guard_token
from search.events import Ask, End
from search.journal import Journal
from search.preflight import room_on
from search.scheduler import LoggedAsha
from search.searcher import TrialSource
from search.space import Phase, Space
from search.trainable import SupConTrial
from supcon.parsing import UserError

ROOT = Path(__file__).resolve().parent.parent


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
    """Ends all trials of a Tuner once an interrupt was requested, or the time is up."""

    def __init__(self, interrupt: Interrupt, is_time_up: Callable[[], bool]) -> None:
        self.interrupt, self.is_time_up = interrupt, is_time_up

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stops a single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether to end all."""
        return self.interrupt.requested or self.is_time_up()


@contextmanager
def ray_session(address: str | None, host: str) -> Iterator[str]:
    """A local Ray, or a connection to a cluster; yields the dashboard's URL.

    Args:
        address: of the cluster; None starts a Ray on this machine.
        host: what the dashboard of a local Ray listens on.
    """
    # Workers import `search` and `supcon` also when the command runs in another folder.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    guard_token(create=address is None)
    if address is None:
        # Else Ray listens on the machine's address, or on all. Ray reads the variable when it is
        # imported, which may have been before, and its processes inherit it.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        ray_constants.ENABLE_RAY_CLUSTER = False
        options |= {"address": "local", "include_dashboard": True, "dashboard_host": host}
    else:
        options |= {
            "address": address,
            "runtime_env": {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
        }
    try:
        context = ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        # Ray looks for a token by itself only for `auto` and for a Ray of its own.
        is_without_token = address not in (None, "auto") and "RAY_AUTH_MODE" not in os.environ
        hint = "; if the cluster asks for a token, set RAY_AUTH_MODE=token" * is_without_token
        raise UserError(
            f"--address {address or 'local'}: Ray cannot be reached ({reason}){hint}"
        ) from error
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def run_trials(
    space: Space,
    journal: Journal,
    data: Any,
    phases: Sequence[Phase],
    next_trial: Callable[[], Ask | None],
    interrupt: Interrupt,
    is_time_up: Callable[[], bool],
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
    """
    scratch = tempfile.mkdtemp(prefix="supcon-search-")
    source = TrialSource(space, journal, phases, next_trial)
    stop = StopAll(interrupt, lambda: is_time_up() or journal.broken is not None)
    tuner = _tuner(space, journal, data, source, stop, scratch)
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
    space: Space, journal: Journal, data: Any, source: TrialSource, stop: StopAll, scratch: str
) -> tune.Tuner:
    study = journal.path.parent.resolve()
    trainable = tune.with_resources(
        tune.with_parameters(SupConTrial, data=data, study=study),
        {"cpu": space.resources.cpu, "gpu": space.resources.gpu},
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=source,
            scheduler=LoggedAsha(space, journal),
            num_samples=-1,
            reuse_actors=True,
            max_concurrent_trials=concurrency(space),
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


def concurrency(space: Space) -> int:
    """Trials that run at once: as asked for, but never more than there is room for."""
    want = space.resources
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(room_on(node.get("CPU", 0), node.get("GPU", 0), want) for node in nodes)
    if room < 1:
        cpus = max((node.get("CPU", 0) for node in nodes), default=0)
        gpus = max((node.get("GPU", 0) for node in nodes), default=0)
        raise UserError(
            f"resources: a trial wants cpu {want.cpu:g} and gpu {want.gpu:g}, but Ray's largest "
            f"nodes have {cpus:g} CPUs and {gpus:g} GPUs; set --cpus-per-trial or --gpus-per-trial"
        )
    return min(room, want.concurrency or room)
