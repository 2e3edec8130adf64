"""Test images that look like one of train: when they are looked for, and where they are shown."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from search.gallery import lookalikes
from search.gallery.lookalikes import (
    add_lookalikes,
    changed,
    lookalikes_csv,
    lookalikes_later,
    looked_alike,
    unusual,
)
from search.log.events import Audited
from search.log.packed import pack
from search.log.study import Study
from search.reporting.files import write_report
from supcon.audit.overlap import greys, overlap
from supcon.images.split import Split, Splits
from tests.audit.planted import detailed_photos, photos
from tests.trained_study import TrainedStudy

SHIFTED = {5: 0, 17: 40, 29: 55}
"""Place in test -> of which image of train it is a part."""


@pytest.fixture
def data(study: TrainedStudy, monkeypatch: pytest.MonkeyPatch) -> Splits:
    """Pieces of photographs, made grey; the models have not seen such pictures."""
    monkeypatch.setattr(lookalikes, "check_same_test", lambda *_: None)
    pixels = greys(detailed_photos(130))[..., None].numpy()
    train, val, test = pixels[:60], pixels[60:100], pixels[100:].copy()
    for place, source in SHIFTED.items():
        test[place, 3:, 3:] = train[source, :-3, :-3]
    monkeypatch.setattr(lookalikes, "find_test", lambda _: Split(test, np.zeros(30, dtype=int)))
    labels = np.arange(60) % 10
    return Splits(Split(train, labels), Split(val, labels[:40]), study.data.classes)


def named(study: Study) -> dict[int, int]:
    found = looked_alike(study)
    assert found is not None
    return {int(pair.test.image): int(pair.train.image) for pair in found.pairs}


def test_nothing_is_compared_before_the_test_images_were_opened(
    study: TrainedStudy, data: Splits
) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    assert add_lookalikes(study, data) == ""
    assert study.log.compared is None


def test_shifted_copies_are_named_first_with_their_source_and_logged_once(
    study: TrainedStudy, data: Splits
) -> None:
    study.confirm_both()
    for _ in range(2):
        assert add_lookalikes(study, data) == ""
    found = looked_alike(study)
    assert found is not None
    assert sum(event is found for event in study.log.events) == 1
    assert found.judges == [("supcon", "confirm", 0), ("ce", "confirm", 0)]
    assert (found.n_test, found.n_val, found.n_tried) == (30, 40, 60)
    assert set(list(named(study).items())[:3]) == set(SHIFTED.items())
    assert [pair.correlation for pair in found.pairs] == sorted(
        (pair.correlation for pair in found.pairs), reverse=True
    )
    assert len(found.pairs) == found.n_found < 10
    assert found.n_val_found < 4
    assert found.n_tried_found > 20
    assert looked_alike(Study.open(study.folder.path)) == found


def test_what_the_hashes_named_is_not_named_again(study: TrainedStudy, data: Splits) -> None:
    study.confirm_both()
    known = np.isin(np.arange(30), [5, 17])
    study.add(Audited, looks=[], twins=[], n_test=30, test_in_train=pack(known),
              test_in_val=pack(~known), copies=[])  # fmt: skip
    add_lookalikes(study, data)
    found = looked_alike(study)
    assert found is not None
    assert found.n_test == 28
    assert next(iter(named(study).items())) == (29, 55)
    assert not {5, 17} & named(study).keys()


@pytest.mark.slow
def test_where_changed_images_are_not_found_either_nothing_is_listed_and_that_is_said(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    unlike = np.random.default_rng(1).integers(0, 256, (60, 32, 32, 1), dtype=np.uint8)
    monkeypatch.setattr(lookalikes, "changed", lambda _: unlike)
    add_lookalikes(study, data)
    found = looked_alike(study)
    assert found is not None
    assert found.tells_nothing
    assert found.n_found > 0
    assert found.pairs == []
    write_report(study)
    said = "0 of 60 training images that were shifted, cropped or mirrored on purpose: too few"
    assert said in (study.folder.path / "report.md").read_text()


def test_pairs_are_shown_and_listed(study: TrainedStudy, data: Splits) -> None:
    study.confirm_both()
    add_lookalikes(study, data)
    found, summary = looked_alike(study), write_report(study)
    assert found is not None
    rows = list(csv.DictReader(io.StringIO(lookalikes_csv(study))))
    assert {int(row["test"]): int(row["train"]) for row in rows} == named(study)
    assert rows[0]["train_label"] == data.classes[int(rows[0]["train"]) % 10]
    assert (study.folder.path / "lookalikes.csv").read_text() == lookalikes_csv(study)
    assert summary.lookalikes is not None
    assert summary.lookalikes.listed == len(rows)
    page = study.folder.page.read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * len(rows)
    line = f"{found.n_found} of 30 test images that have no copy in train lie unusually well"
    assert line in page
    assert line in (study.folder.path / "report.md").read_text()


@pytest.mark.slow
def test_what_could_not_be_compared_is_said_and_made_later(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    model = study.folder.model("ce-confirm-0")
    kept = model.read_bytes()
    model.unlink()
    assert "there is no such file" in add_lookalikes(study, data)
    assert looked_alike(study) is None
    assert write_report(study).missing["lookalikes"].endswith("python search/report.py")
    model.write_bytes(kept)
    study.log.close()
    same = study.log.started.model_copy(update={"data_hash": data.fingerprint()})
    monkeypatch.setattr("search.log.journal.Journal.started", same)
    monkeypatch.setattr("search.judge.trained_models.load_splits", lambda _: data)
    assert lookalikes_later(study) == ""
    assert looked_alike(Study.open(study.folder.path)) is not None


def test_other_test_images_than_those_that_were_opened_are_refused(study: TrainedStudy) -> None:
    study.confirm_both()
    fewer = replace(study.data, classes=study.data.classes[::-1])
    assert "the test images are not those" in add_lookalikes(study, fewer)


def test_of_numbers_that_are_all_alike_one_in_so_many_is_unusual() -> None:
    rng = np.random.default_rng(0)
    highest = rng.gumbel(0.3, 0.05, size=4000)
    for chance in (0.1, 0.01, 0.001):
        share = (rng.gumbel(0.3, 0.05, size=100_000) >= unusual(highest, chance)).mean()
        assert chance / 2 < share < 2 * chance
    assert unusual(np.zeros(10), 0.001) == 0  # pictures of one colour: none is above it
    with_copies = np.append(highest, np.ones(400))
    assert unusual(with_copies, 0.001) < 1.2 * unusual(highest, 0.001)


def test_pieces_of_photographs_that_do_not_overlap_are_rarely_named() -> None:
    """Two sets without a copy, each compared with a third: one false alarm is expected."""
    bank, val, test = greys(photos())[np.random.default_rng(0).permutation(300)[:150]].split(50)
    highest = [
        overlap(each, bank[None, :20].expand(50, -1, -1, -1)).amax(1) for each in (val, test)
    ]
    least = unusual(highest[0].double().numpy(), 1 / 50)
    assert int((highest[1] >= least).sum()) <= 4


def test_images_are_changed_by_turns_and_stay_recognisable() -> None:
    images = detailed_photos(30)
    found = changed(images)
    assert found.shape == images.shape
    assert np.array_equal(found[0, 5:, 5:], images[0, :-5, :-5])
    assert np.array_equal(found[2, 5:, :-5], images[2, :-5, :-5][:, ::-1])
    assert float(overlap(greys(found), greys(images)[:, None]).min()) > 0.7
    assert changed(images[..., :1]).shape == (len(images), 40, 40, 1)
