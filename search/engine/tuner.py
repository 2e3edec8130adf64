"""A Ray Tuner that runs trials over the log.

Every start is a fresh Tuner; Ray's own snapshots go to a temporary folder and are never read.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray.tune.tune
from ray import tune

from search.engine.nodes import Room
from search.engine.scheduler import LoggedAsha
from search.engine.trial_actor import SupConTrial
from search.engine.trial_source import TrialSource
from search.engine.unpickled import Unpickled
from search.log.events import End, Move, Phase, Report
from search.log.folder import StudyFolder
from search.log.study import Study
from search.strategy.promotion import without_checkpoint

# Else Ray takes SIGUSR1 for itself, and a search that a job queue stops would look finished.
assert hasattr(ray.tune.tune, "_setup_signal_catching")
ray.tune.tune._setup_signal_catching = threading.Event


class StopAll(Unpickled, tune.Stopper):
    """Ends all trials of a Tuner once it is asked to; Ray asks ten times a second."""

    def __init__(self, must_stop: Callable[[], bool]) -> None:
        self.must_stop = must_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stops a single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether to end all."""
        return self.must_stop()


def run_trials(
    study: Study,
    data: Any,
    phases: Sequence[Phase],
    next_trial: Callable[[], Move | None],
    must_stop: Callable[[], bool],
) -> None:
    """Run the phases' unfinished trials and then new ones, until there are none, or must be none.

    Args:
        study: the study.
        data: a reference to the images in Ray's object store.
        phases: what the trials are for.
        next_trial: the next trial of the phases, a paused one that goes on, or None.
        must_stop: whether all must end.

    Raises:
        UserError: the log cannot be written.
    """
    scratch = tempfile.mkdtemp(prefix="supcon-search-")
    asha = LoggedAsha(study)
    source = TrialSource(study, phases, next_trial, Room(study.shares), asha.errors)
    stop = StopAll(lambda: study.log.broken is not None or must_stop())
    tuner = _tuner(study, data, source, asha, stop, scratch)
    # It would name trials whose worker died as not completed; they were run again, or have failed.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    ray_logger = logging.getLogger("ray.tune.execution.tune_controller")
    ray_logger.addFilter(is_worth_saying := lambda _: study.log.broken is None)
    try:
        tuner.fit()
    except Exception:  # Ray wraps and prints what a log that cannot be written raised
        if study.log.broken is None:
            raise
    finally:
        ray_logger.removeFilter(is_worth_saying)
        shutil.rmtree(scratch, ignore_errors=True)
    if study.log.broken is not None:
        raise study.log.broken


def _tuner(
    study: Study, data: Any, source: TrialSource, asha: LoggedAsha, stop: StopAll, scratch: str
) -> tune.Tuner:
    folder = StudyFolder(study.folder.path.resolve())
    trainable = tune.with_resources(
        tune.with_parameters(SupConTrial, data=data, study=folder),
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


def remove_checkpoint(study: Study, event: Any) -> None:
    """A trial that has ended is never resumed, and few go on of those that pause; their checkpoints
    would only fill the disk.
    """
    done = [study.log.trials[event.key]] if isinstance(event, End) else []
    if isinstance(event, Report) and event.decision == "pause":
        done += without_checkpoint(study, study.log.trials[event.key])
    for trial in done:
        with suppress(OSError):  # the search goes on with a fuller disk
            study.folder.checkpoint(trial.name).unlink(missing_ok=True)
