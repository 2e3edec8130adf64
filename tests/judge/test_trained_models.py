"""Models of runs after the search, loaded from where their training left them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch

from search.gallery.suspects import add_suspects
from search.gallery.tsne import add_pictures
from search.judge.trained_models import SavedModel, here, on_any_device, predict_by_run, saved_model
from supcon.config import Config
from supcon.evaluation.trained import predict
from supcon.parsing import UserError
from tests.trained_study import TrainedStudy

T = TypeVar("T")


class Elsewhere:
    """Runs functions as another process would: all that goes there and comes back is copied."""

    def __init__(self) -> None:
        self.asked: list[Config] = []

    def __call__(self, config: Config, look: Callable[..., T], *given: Any) -> T:
        self.asked.append(config)
        there, sent = pickle.loads(pickle.dumps((look, given)))
        found: T = pickle.loads(pickle.dumps(there(*sent)))
        return found


def test_a_run_predicts_as_the_model_that_its_training_left(study: TrainedStudy) -> None:
    study.confirm("ce", 0, 1)
    (run,) = study.log.of("ce", "confirm")
    _, config = saved_model(study, run).load()
    assert (config.loss.name, config.run.seed) == ("ce", run.ask.seed)
    images = study.data.val.images
    wanted = predict(study.models["ce"], config, study.data.train, images)
    assert wanted.keys() >= {"probe", "knn", "head"}
    for place in (here, Elsewhere()):
        found = predict_by_run(study, run, study.data, images, place)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_all_that_asks_models_can_be_done_elsewhere_with_what_their_trials_take(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.gallery.tsne.flatten_to_plane", lambda x, *_: x[:, :2].numpy())
    monkeypatch.setattr("supcon.evaluation.label_errors.FOLDS", 2)
    study.confirm_both()
    place = Elsewhere()
    assert add_pictures(study, study.data, place) == {}
    assert add_suspects(study, study.data, place) == ""
    runs = [study.log.of(arm, "confirm")[0] for arm in study.arms]
    assert place.asked == 2 * [study.config_of(run.ask) for run in runs]


def test_a_model_that_is_gone_is_named(study: TrainedStudy) -> None:
    study.confirm("ce", 0, 1)
    (run,) = study.log.of("ce", "confirm")
    study.folder.model(run.name).unlink()
    with pytest.raises(UserError, match=r"trials/ce-confirm-0/model\.pt"):
        saved_model(study, run).load()


def test_this_process_keeps_no_memory_of_a_gpu_even_if_it_ran_out_of_it(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))

    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert here(Config(), abs, -1) == 1
    with pytest.raises(torch.OutOfMemoryError):
        here(Config(), fail)
    assert len(emptied) == 2


def test_of_a_study_that_is_over_a_model_is_asked_wherever_that_can_be_done(
    study: TrainedStudy,
) -> None:
    study.confirm("ce", 0, 1)
    (run,) = study.log.of("ce", "confirm")
    path = saved_model(study, run).path
    assert on_any_device(Config(), device_of, SavedModel(path, "cuda")) == "auto"


def device_of(model: SavedModel) -> str:
    return model.device
