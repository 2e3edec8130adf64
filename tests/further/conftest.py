"""A study whose runs end with real models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supcon.config import Config
from supcon.evaluation.trained import Trained
from supcon.images.split import Split, Splits
from tests.trained_study import TrainedStudy, both_searched


@pytest.fixture
def study(tmp_path: Path, models: dict[str, Trained], tiny: Config, digits: Splits) -> TrainedStudy:
    return both_searched(tmp_path, models, tiny, digits)


@pytest.fixture
def unknown(digits: Splits, monkeypatch: pytest.MonkeyPatch) -> Split:
    """Pictures of noise, which the study finds as images of unknown classes."""
    shape = (40, *digits.train.images.shape[1:])
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = Split(noise, np.zeros(40, np.int64))
    find_unknown(monkeypatch, found)
    return found


def find_unknown(monkeypatch: pytest.MonkeyPatch, images: Split) -> None:
    """Let a study find these as images of unknown classes."""
    for place in ("search.judge.sealed.load_unknown", "search.further.examining.find_unknown"):
        monkeypatch.setattr(place, lambda _: images)
