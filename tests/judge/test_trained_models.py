"""Models of runs after the search, loaded from where their training left them."""

from __future__ import annotations

import pytest
import torch

from search.judge.trained_models import load_run, predict_by_run
from supcon.evaluation.trained import predict
from supcon.parsing import UserError
from tests.trained_study import TrainedStudy


def test_a_run_predicts_as_the_model_that_its_training_left(study: TrainedStudy) -> None:
    study.confirm("ce", 0, 1)
    (run,) = study.log.of("ce", "confirm")
    _, config = load_run(study, run)
    assert (config.loss.name, config.run.seed) == ("ce", run.ask.seed)
    images = study.data.val.images
    found = predict_by_run(study, run, study.data, images)
    wanted = predict(study.models["ce"], config, study.data.train, images)
    assert found.keys() == wanted.keys() >= {"probe", "knn", "head"}
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_model_that_is_gone_is_named(study: TrainedStudy) -> None:
    study.confirm("ce", 0, 1)
    (run,) = study.log.of("ce", "confirm")
    study.folder.model(run.name).unlink()
    with pytest.raises(UserError, match=r"trials/ce-confirm-0/model\.pt"):
        load_run(study, run)
