"""The models of runs after the search, as their training left them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from search.log.journal import Journal
from search.log.study import Study
from search.log.trial import Trial
from supcon.config import Config
from supcon.evaluation.trained import Trained, load_trained, predict
from supcon.images.files import Images
from supcon.images.loading import load_splits
from supcon.images.split import Splits
from supcon.network.device import pick_device
from supcon.parsing import UserError

T = TypeVar("T")


def load_run(study: Study, run: Trial) -> tuple[Trained, Config]:
    """A run's model, on the device that its arm trains on, and its config."""
    device = pick_device(study.space.arm_config(run.ask.arm).run.device)
    return load_trained(study.folder.model(run.name), device)


def predict_by_run(study: Study, run: Trial, data: Splits, images: Images) -> dict[str, Tensor]:
    """Class ids of images by each classifier of a run, as `supcon.evaluation.trained.predict`."""
    trained, config = load_run(study, run)
    return predict(trained, config, data.train, images)


def with_models(study: Study, add: Callable[[Study, Splits], T]) -> T:
    """What `add` finds and logs of a study that is over, with the images as they are found now.

    Raises:
        UserError: they are not those of the study, or somebody works on it.
    """
    log = Journal.open(study.log.path, to_write=True)
    try:
        data = load_splits(study.space.config.data)
        if data.fingerprint() != log.started.data_hash:
            raise UserError("the images of train and val are no longer those of the study")
        return add(Study(study.space, log), data)
    finally:
        log.close()
