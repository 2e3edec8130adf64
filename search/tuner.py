"""A Ray Tuner that runs trials over the log.

Every start is a fresh Tuner; Ray's own snapshots go to a temporary folder and are never read.
"""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray import tune

from search.events import Ask, End
from search.journal import Journal
from search.resources import Share, all_shares, at_once, room, smallest_share
from search.scheduler import LoggedAsha
from search.searcher import TrialSource
from search.session import alive_nodes
from search.space import Phase, Space
from search.trainable import SupConTrial
from supcon.parsing import UserError

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
    # It would name trials whose worker died as not completed; they were run again, or have failed.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
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


def check_room(space: Space) -> None:
    """Whether each trial that the space can draw fits into some node; Ray would wait for ever.

    Raises:
        UserError: naming what a trial wants and what there is.
    """
    nodes = [node for node in alive_nodes() if node.cpus > 0]
    if not nodes:
        raise UserError(
            "--address: no node that can run trials has joined the cluster yet; run `ray start "
            "--address=...` on one, and try again"
        )
    for want in all_shares(space.resources):
        if room(nodes, [], want) < 1:
            there = ", ".join(f"{node.cpus:g} and {node.gpus:g}" for node in dict.fromkeys(nodes))
            raise UserError(
                f"resources: a trial wants cpu {want.cpu:g} and gpu {want.gpu:g}, but Ray's nodes "
                f"have CPUs and GPUs {there}; set --cpus-per-trial or --gpus-per-trial, also with "
                f"--resume"
            )


def slots_to_confirm(space: Space, journal: Journal) -> int:
    """Trials at once after the search, if winners take as much as the largest of the best."""
    asks = [t.ask for arm in space.arms for t in journal.top(arm, space.confirm.top)]
    configs = [space.trial_config(ask.arm, ask.params, ask.seed) for ask in asks]
    nodes = alive_nodes()
    return max(1, min((at_once(space.resources, c, nodes) for c in configs), default=1))
