"""Pictures of the winners: when they are made, and of what."""

from __future__ import annotations

import numpy as np
import pytest

from search.judge.tsne import add_pictures
from search.reporting.summarise import summarise
from supcon.images.split import Splits
from tests.judge.trained_study import TrainedStudy


@pytest.fixture
def data(study: TrainedStudy) -> Splits:
    """Few images of val: t-SNE is slow."""
    val = study.data.val.take(np.arange(60))
    return Splits(study.data.train, val, study.data.classes)


def test_a_picture_is_logged_once_for_each_winner(study: TrainedStudy, data: Splits) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    add_pictures(study, data)
    assert study.log.pictures == []  # not before the test images were opened
    study.open_test()
    for _ in range(2):
        add_pictures(study, data)
    supcon, ce = study.log.pictures
    assert len(supcon.encoder) == len(supcon.labels) == len(data.val)
    assert supcon.projection is not None
    assert ce.projection is None
    assert set(summarise(study).tsne) == {"supcon", "ce"}


def test_of_many_images_some_from_all_of_val_are_shown(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.judge.tsne.IMAGES", 40)
    study.confirm("ce", 0, 3)
    study.open_test()
    add_pictures(study, data)
    (picture,) = study.log.pictures
    assert len(picture.encoder) == len(picture.labels) == 40
    assert (picture.labels[0], picture.labels[-1]) == tuple(data.val.labels[[0, -1]])
    assert (picture.arm, picture.phase, picture.number) == ("ce", "confirm", 0)
    assert picture.classes == list(data.classes)
