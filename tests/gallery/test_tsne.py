"""Pictures of the winners: when they are made, and of what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
import torch

from search.gallery.tsne import add_pictures, pictures_later
from search.log.study import Study
from search.reporting.summarise import summarise
from supcon.evaluation.plane import NotDrawn
from supcon.images.split import Splits
from tests.trained_study import TrainedStudy


@pytest.fixture
def data(study: TrainedStudy) -> Splits:
    """Few images of val: t-SNE is slow."""
    val = study.data.val.take(np.arange(60))
    return Splits(study.data.train, val, study.data.classes)


@pytest.mark.slow
def test_a_picture_is_logged_once_for_each_winner(study: TrainedStudy, data: Splits) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    add_pictures(study, data)
    assert study.log.pictures == []  # not before the test images were opened
    study.open_test()
    for _ in range(2):
        add_pictures(study, data)
    supcon, ce = study.log.pictures
    assert supcon.encoder is not None
    assert len(supcon.encoder) == len(supcon.labels) == len(data.val)
    assert supcon.projection is not None
    assert ce.projection is None
    assert set(summarise(study).tsne) == {"supcon", "ce"}


@pytest.mark.slow
def test_of_many_images_some_from_all_of_val_are_shown(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.gallery.tsne.IMAGES", 40)
    study.confirm("ce", 0, 3)
    study.open_test()
    add_pictures(study, data)
    (picture,) = study.log.pictures
    assert picture.encoder is not None
    assert len(picture.encoder) == len(picture.labels) == 40
    assert (picture.labels[0], picture.labels[-1]) == tuple(data.val.labels[[0, -1]])
    assert (picture.arm, picture.phase, picture.number) == ("ce", "confirm", 0)
    assert picture.classes == list(data.classes)


def test_collapsed_features_are_logged_as_such_and_not_drawn(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm("ce", 0, 3)
    study.open_test()

    def all_equal(*_: object) -> object:
        x = torch.ones(len(data.val), 4)
        return SimpleNamespace(features=x, outputs=x)

    monkeypatch.setattr("search.gallery.tsne.embed_with", all_equal)
    assert add_pictures(study, data) == {}
    (picture,) = study.log.pictures
    assert picture.encoder is None
    assert picture.problems == {"encoder": "the features of all images are equal"}
    assert add_pictures(study, data) == {}
    assert len(study.log.pictures) == 1


@pytest.mark.slow
def test_a_picture_that_a_crash_took_away_is_tried_again_later(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm("ce", 0, 3)
    study.open_test()

    def crash(*_: object) -> NoReturn:
        raise NotDrawn("t-SNE crashed (SIGSEGV)")

    with monkeypatch.context() as patch:
        patch.setattr("search.gallery.tsne.flatten_to_plane", crash)
        assert add_pictures(study, data) == {"ce": "t-SNE crashed (SIGSEGV)"}
    assert study.log.pictures == []
    assert add_pictures(study, data) == {}
    assert len(study.log.pictures) == 1


@pytest.mark.slow
def test_pictures_are_made_later_of_the_same_images_alone_and_while_nobody_works_on_the_study(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm("ce", 0, 3)
    study.open_test()
    assert "another process is working" in pictures_later(study)["ce"]
    study.log.close()
    assert pictures_later(study) == {
        "ce": "the images of train and val are no longer those of the study"
    }
    same = study.log.started.model_copy(update={"data_hash": study.data.fingerprint()})
    monkeypatch.setattr("search.log.journal.Journal.started", same)
    monkeypatch.setattr("search.judge.trained_models.load_splits", lambda _: study.data)
    assert pictures_later(study) == {}
    again = Study.open(study.folder.path)
    assert [picture.arm for picture in again.log.pictures] == ["ce"]
    assert pictures_later(again) == {}
