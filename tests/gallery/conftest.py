"""A study whose runs end with real models."""

from __future__ import annotations

from pathlib import Path

import pytest

from supcon.config import Config
from supcon.evaluation.trained import Trained
from supcon.images.split import Splits
from tests.trained_study import TrainedStudy, both_searched


@pytest.fixture
def study(tmp_path: Path, models: dict[str, Trained], tiny: Config, digits: Splits) -> TrainedStudy:
    return both_searched(tmp_path, models, tiny, digits)
