"""Who judges the images, and when they are asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from search.gallery.judging import ask_later, ask_once, by_judges, judges
from search.judge.trained_models import Place, here
from search.log.events import Suspected
from search.log.study import Study
from search.log.trial import Trial
from supcon.images.split import Splits
from tests.trained_study import TrainedStudy


def say(study: Study, runs: Sequence[Trial], data: Splits, place: Place) -> Suspected:
    keys = [run.ask.key for run in runs]
    return Suspected(judges=keys, classes=[], n_images=0, n_found=0, n_probable=0, suspects=[])


def ask(study: Study, data: Splits, place: Place = here) -> str:
    return ask_once(study, data, study.log.suspected, say, place)


def test_nobody_is_asked_before_the_test_images_were_opened(
    study: TrainedStudy, digits: Splits
) -> None:
    assert judges(study) == []
    assert ask(study, digits) == ask_later(study, None, ask) == ""
    assert study.log.suspected is None


def test_the_first_run_of_each_winner_is_asked_once(study: TrainedStudy, digits: Splits) -> None:
    study.confirm_both()
    for _ in range(2):
        assert ask(study, digits) == ""
    assert [run.ask.key for run in judges(study)] == [
        ("supcon", "confirm", 0),
        ("ce", "confirm", 0),
    ]
    assert sum(isinstance(event, Suspected) for event in study.log.events) == 1
    assert by_judges(study, study.log.suspected) is study.log.suspected is not None


@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("no memory")])
def test_why_they_could_not_be_asked_is_said_in_a_line(
    study: TrainedStudy, digits: Splits, error: Exception
) -> None:
    def fail(*_: object) -> Suspected:
        raise error

    study.confirm_both()
    assert ask_once(study, digits, study.log.suspected, fail, here) == str(error)
    assert study.log.suspected is None


def test_later_they_are_asked_while_nobody_works_on_the_study(
    study: TrainedStudy, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    assert "another process is working" in ask_later(study, None, ask)
    study.log.close()
    same = study.log.started.model_copy(update={"data_hash": digits.fingerprint()})
    monkeypatch.setattr("search.log.journal.Journal.started", same)
    monkeypatch.setattr("search.judge.trained_models.load_splits", lambda _: digits)
    assert ask_later(study, None, ask) == ""
    assert Study.open(study.folder.path).log.suspected is not None
