"""When tested runs are examined, and what is logged of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.further import examining
from search.further.examining import add_examined, examined_later, unexamined
from search.judge.trained_models import Place, here
from search.log.events import Examined, Unsealed
from search.log.study import Study
from supcon.config import override
from supcon.images.split import Split
from supcon.parsing import UserError
from tests.further.conftest import find_unknown
from tests.trained_study import TrainedStudy

FOUND = {"probe": {"ece": [0.1] * 31}, "head": {"ece": [0.2] * 31}}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is asked; what is tested is when and for which."""
    monkeypatch.setattr(examining, "examine", lambda *_: FOUND)


def examined(study: Study) -> list[str]:
    events = [event for event in study.log.events if isinstance(event, Examined)]
    return [study.log.trials[event.key].name for event in events]


def test_nothing_is_examined_before_the_test_images_were_opened(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arm in study.arms:
        study.confirm(arm, 0, 3)
    monkeypatch.setattr(examining, "opened_images", pytest.fail)
    assert unexamined(study) == []
    assert add_examined(study, study.data) == examined_later(study) == ""


@pytest.mark.slow
def test_each_tested_run_is_examined_once_and_nothing_is_opened_for_it(
    study: TrainedStudy, unknown: Split
) -> None:
    study.confirm_both()
    for _ in range(2):
        assert add_examined(study, study.data) == ""
    names = [f"{arm}-confirm-{n}" for arm in ("supcon", "ce") for n in range(3)]
    assert examined(study) == names
    assert sum(isinstance(event, Unsealed) for event in study.log.events) == 2
    again = Study.open(study.folder.path)
    assert unexamined(again) == []
    found = again.log.trials["ce", "confirm", 0].examined
    assert found is not None
    assert (found.n_images, found.n_corrupted, found.n_unknown) == (360, 360, len(unknown))
    assert found.n_equal == 30  # of 12 images each
    assert found.n_equal_unknown == 20  # of 40 unknown ones, 1 or 2 each: 60**2 / (10 * 16 + 20)
    lengths = {len(x) for values in found.values.values() for x in values.values()}
    assert lengths == {1 + 30}
    assert list(found.values) == ["probe", "head", "features"]
    tested = again.log.trials["ce", "confirm", 0].tested
    assert tested is not None


@pytest.mark.usefixtures("quick")
def test_a_search_that_was_killed_goes_on_with_those_that_are_missing(study: TrainedStudy) -> None:
    study.confirm_both()
    asked: list[str] = []

    def kill(config: Any, look: Any, model: Any, *given: Any) -> Any:
        asked.append(model.path.parent.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return here(config, look, model, *given)

    with pytest.raises(KeyboardInterrupt):
        add_examined(study, study.data, kill)
    assert len(examined(study)) == 2
    study.go_on()
    assert add_examined(study, study.data) == ""
    names = [f"{arm}-confirm-{n}" for arm in ("supcon", "ce") for n in range(3)]
    assert examined(study) == names  # as if nothing had happened


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("no memory")])
def test_a_run_that_cannot_be_asked_is_named_and_the_others_are_examined(
    study: TrainedStudy, error: Exception
) -> None:
    study.confirm_both()

    def fail(config: Any, look: Any, model: Any, *given: Any) -> Any:
        if "supcon-confirm-1" in str(model.path):
            raise error
        return here(config, look, model, *given)

    assert add_examined(study, study.data, fail) == f"supcon-confirm-1: {error}"
    assert [run.name for run in unexamined(study)] == ["supcon-confirm-1"]


@pytest.mark.usefixtures("quick")
def test_what_could_not_be_examined_is_later(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    model = study.folder.model("ce-confirm-0")
    kept = model.read_bytes()
    model.unlink()
    why = add_examined(study, study.data)
    assert why.startswith("ce-confirm-0: ")
    assert "there is no such file" in why
    model.write_bytes(kept)
    assert "another process is working" in examined_later(study)
    study.log.close()
    assert examined_later(study) == "the images of train and val are no longer those of the study"
    same = study.log.started.model_copy(update={"data_hash": study.data.fingerprint()})
    monkeypatch.setattr("search.log.journal.Journal.started", same)
    monkeypatch.setattr("search.judge.trained_models.load_splits", lambda _: study.data)
    assert examined_later(study) == ""
    assert unexamined(Study.open(study.folder.path)) == []


def test_other_test_images_than_those_that_were_opened_are_refused(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    fewer = study.data.val
    monkeypatch.setattr("search.judge.sealed.find_test", lambda _: fewer)
    assert "the test images are not those" in add_examined(study, study.data)
    assert examined(study) == []


@pytest.mark.usefixtures("quick")
def test_other_images_of_unknown_classes_than_those_of_earlier_runs_are_refused(
    study: TrainedStudy, unknown: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    place: Place = only_first
    add_examined(study, study.data, place)
    assert examined(study) == ["supcon-confirm-0"]
    changed = unknown.take(np.arange(39))
    find_unknown(monkeypatch, changed)
    why = add_examined(study, study.data)
    assert why.startswith("data.unknown: the images of unknown classes are not those")
    assert "supcon-confirm-0" in why
    find_unknown(monkeypatch, unknown)
    assert add_examined(study, study.data) == ""


def test_unknown_images_are_told_apart_alike_whether_or_not_they_are_in_memory(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A resumed search may have less memory."""
    for i, name in enumerate(
        ("known/train/a", "known/train/b", "known/test/a", "known/test/b", "u")
    ):
        (tmp_path / name).mkdir(parents=True)
        for j in range(2):
            Image.new("RGB", (8, 8), (i, j, 0)).save(tmp_path / name / f"{j}.png")
    own = {"name": "folder", "root": str(tmp_path / "known"), "unknown": str(tmp_path / "u")}
    changes = {f"data.{key}": value for key, value in {**own, "image_size": 8}.items()}
    monkeypatch.setitem(study.space.__dict__, "config", override(study.space.config, changes))
    before = examining._unknown_hash(study)
    monkeypatch.setattr("supcon.images.loading.has_room_for", lambda _: False)
    assert examining._unknown_hash(study) == before != ""


def only_first(config: Any, look: Any, model: Any, *given: Any) -> Any:
    if "supcon-confirm-0" not in str(model.path):
        raise UserError("not now")
    return here(config, look, model, *given)


@pytest.mark.usefixtures("quick")
def test_a_single_image_of_an_unknown_class_tells_nothing(
    study: TrainedStudy, unknown: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    one = unknown.take(np.arange(1))
    find_unknown(monkeypatch, one)
    assert add_examined(study, study.data).startswith("data.unknown: at least 2 images")


def test_few_unknown_images_make_fewer_blocks_with_those_of_test(
    study: TrainedStudy, unknown: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    few = unknown.take(np.arange(7))
    find_unknown(monkeypatch, few)
    exam = examining._exam(study, study.data)
    assert exam.unknown is not None
    assert np.bincount(exam.blocks).tolist() == [12] * 30
    assert sorted(exam.unknown.blocks) == [*range(7)]
    assert set(exam.unknown.test_blocks) == {*range(7)}


@pytest.mark.usefixtures("quick")
def test_a_former_winner_is_not_examined(study: TrainedStudy) -> None:
    study.confirm_both()
    study.search("ce", 1, 0.9)
    study.confirm("ce", 1, 3)
    study.open_test()
    names = [run.name for run in unexamined(study)]
    assert names[3:] == ["ce-confirm-3", "ce-confirm-4", "ce-confirm-5"]
