"""A study whose runs end with real models."""

from __future__ import annotations

from pathlib import Path

import pytest

from supcon.config import Config
from supcon.evaluation.trained import Trained
from supcon.images.split import Splits
from tests.trained_study import TrainedStudy


@pytest.fixture
def study(tmp_path: Path, models: dict[str, Trained], tiny: Config, digits: Splits) -> TrainedStudy:
    """Both arms searched, a trial each."""
    study = TrainedStudy(tmp_path, models, tiny, digits)
    for arm in ("supcon", "ce"):
        study.search(arm, 0, 0.5)
    return study
