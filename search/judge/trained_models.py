"""The models of runs after the search, as their training left them, and where they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from search.log.journal import Journal
from search.log.study import Study
from search.log.trial import Trial
from supcon.config import Config
from supcon.evaluation.trained import Trained, load_trained, predict
from supcon.images.files import Images
from supcon.images.loading import load_splits
from supcon.images.split import Split, Splits
from supcon.network.device import pick_device
from supcon.parsing import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class SavedModel:
    """A run's model, where it lies."""

    path: Path
    device: str
    """auto, cpu or cuda: where its arm trains."""

    def load(self) -> tuple[Trained, Config]:
        """The model on its device, and its config."""
        return load_trained(self.path, pick_device(self.device))


class Place(Protocol):
    """Runs a function where trials run: in this process, or on a node of a cluster."""

    def __call__(self, config: Config, look: Callable[..., T], *given: Any) -> T:
        """What the function finds, on the CPU.

        Args:
            config: of a trial; what that takes of a machine, the function gets.
            look: a function of a module, so that another process can import it.
            given: to it; nothing of it lies on a GPU.
        """


def here(config: Config, look: Callable[..., T], *given: Any) -> T:
    """In this process, which keeps nothing of a GPU's memory."""
    try:
        return look(*given)
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def on_any_device(config: Config, look: Callable[..., T], model: SavedModel, *given: Any) -> T:
    """In this process, on a GPU if there is one, wherever the model was trained."""
    return here(config, look, replace(model, device="auto"), *given)


def saved_model(study: Study, run: Trial) -> SavedModel:
    """That of a run."""
    path = study.folder.model(run.name).resolve()  # nodes of a cluster start in other folders
    return SavedModel(path, study.space.arm_config(run.ask.arm).run.device)


def ask_model(study: Study, run: Trial, place: Place, look: Callable[..., T], *given: Any) -> T:
    """What a function of a `SavedModel`, and of what is given, finds by a run's model."""
    return place(study.config_of(run.ask), look, saved_model(study, run), *given)


def predict_by_run(
    study: Study, run: Trial, data: Splits, images: Images, place: Place = here
) -> dict[str, Tensor]:
    """Class ids of images by each classifier of a run, as `supcon.evaluation.trained.predict`."""
    return ask_model(study, run, place, _predictions, data.train, images)


def _predictions(model: SavedModel, bank: Split, images: Images) -> dict[str, Tensor]:
    trained, config = model.load()
    return predict(trained, config, bank, images)


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
