"""A study in which nothing is left to train."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.written import TREE, WrittenStudy


@pytest.fixture
def confirmed(tmp_path: Path) -> WrittenStudy:
    """Both arms searched, one trial each, and their winners trained again."""
    study = WrittenStudy(tmp_path, budget={"trials": 1}, confirm=TREE["confirm"] | {"top": 1})
    for arm in study.arms:
        study.trial(arm, 0, 0.8)
    for arm in study.arms:
        for number in range(3):
            study.trial(arm, number, 0.7, "confirm", of=0)
    return study
