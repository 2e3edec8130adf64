"""A Ray Tuner that runs trials over the log.

Every start is a fresh Tuner; Ray's own snapshots go to a temporary folder and are never read.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune

from search.engine.interrupts import Interrupt
from search.engine.nodes import Room
from search.engine.scheduler import LoggedAsha
from search.engine.trial_actor import SupConTrial
from search.engine.trial_source import TrialSource
from search.log.events import Ask, End, Phase
from search.log.journal import Journal
from search.space.space import Space


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
