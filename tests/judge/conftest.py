"""A study whose runs end with real models."""

from __future__ import annotations

from pathlib import Path

import pytest

from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.split import Splits
from supcon.train import fit
from tests.trained_study import TrainedStudy


@pytest.fixture(scope="session")
def models(tiny: Config, digits: Splits) -> dict[str, Trained]:
    """Loss -> what an epoch makes of it."""
    found = {}
    for loss in ("supcon", "ce"):
        (record,) = fit(override(tiny, {"loss.name": loss, "run.epochs": 1}), digits)
        assert record.trained is not None
        found[loss] = record.trained
    return found


@pytest.fixture
def study(tmp_path: Path, models: dict[str, Trained], tiny: Config, digits: Splits) -> TrainedStudy:
    """Both arms searched, a trial each."""
    study = TrainedStudy(tmp_path, models, tiny, digits)
    for arm in ("supcon", "ce"):
        study.search(arm, 0, 0.5)
    return study
