"""When the sealed test images are opened, and what of it is logged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from search.judge import sealed
from search.judge.sealed import Opening, check_same_test, correctness
from search.judge.trained_models import SavedModel, saved_model
from search.log.events import Started, Tested, Unsealed
from search.log.journal import Journal
from search.log.packed import unpack_labels
from search.log.study import Study
from search.reporting.files import write_report
from search.reporting.summarise import summarise
from search.space.loading import parse_space
from supcon.config import DataConfig
from supcon.images.loading import load_test
from supcon.images.split import Split, Splits
from supcon.parsing import UserError
from tests.trained_study import TrainedStudy


def test_each_row_is_opened_once_and_the_opening_comes_before_any_score(
    study: TrainedStudy,
) -> None:
    study.confirm("supcon", 0, 3)
    study.confirm("ce", 0, 3)
    openings = study.open_test()
    assert [(o.arm, o.phase, o.numbers) for o in openings] == [
        ("supcon", "confirm", [0, 1, 2]), ("ce", "confirm", [0, 1, 2]),
    ]  # fmt: skip
    kinds = [type(event) for event in study.log.events]
    assert max(i for i, k in enumerate(kinds) if k is Unsealed) < kinds.index(Tested)
    n_events = len(study.log.events)
    study.open_test()
    assert len(study.log.events) == n_events


@pytest.mark.parametrize(("baseline", "n_openings"), [("ce", 2), ("sincere", 0)])
def test_without_an_arm_that_gave_up_the_others_are_opened_unless_it_is_the_baseline(
    study: TrainedStudy, baseline: str, n_openings: int
) -> None:
    arms = {arm: {"loss.name": arm} for arm in ("supcon", "sincere", "ce")}
    study.restart(arms=arms, baseline=baseline, budget={"trials": 3, "give_up": 2})
    for number in range(2):
        study.ask("sincere", number)
        study.end("sincere", number, "diverged")
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    assert len(study.open_test()) == n_openings
    assert study.log.n_tested() == 3 * n_openings


def test_the_ledger_says_when_with_which_code_and_which_images(study: TrainedStudy) -> None:
    study.add(Started, study="x", space=study.tree, commit="abc", versions={})
    study.confirm("supcon", 0, 3)
    (opening,) = study.open_test()
    test = load_test(study.space.config.data)
    assert opening.time > 0
    assert opening.commit == "abc"
    assert len(opening.data_hash) == 32
    assert opening.data_hash != study.data.fingerprint()
    assert unpack_labels(opening.labels).tolist() == test.labels.tolist()
    summary = summarise(study)
    assert len(summary.test_openings) == 1
    assert summary.test_openings[0].runs == [f"supcon-confirm-{i}" for i in range(3)]
    assert summary.test_evaluations == 3


def test_scores_come_in_the_same_order_after_a_kill_among_them(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):  # as they are trained: in turn
        for arm in ("supcon", "ce"):
            study.confirm(arm, 0, 1)
    scored = sealed._score

    def killed(*given: Any) -> None:
        if any(trial.tested for trial in study.log.trials.values()):
            raise KeyboardInterrupt
        scored(*given)

    with monkeypatch.context() as patch:
        patch.setattr("search.judge.sealed._score", killed)
        with pytest.raises(KeyboardInterrupt):
            study.open_test()
    study.open_test()
    tested = [event.key for event in study.log.events if isinstance(event, Tested)]
    assert tested == [(arm, "confirm", n) for arm in ("supcon", "ce") for n in range(3)]
    assert len(study.log.openings) == 2


def test_a_gpu_that_is_missing_is_missed_before_anything_is_opened(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm("supcon", 0, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with monkeypatch.context() as patch:
        patch.setattr(sealed, "saved_model", lambda study, run: on_gpu(saved_model(study, run)))
        with pytest.raises(UserError, match=r"run\.device: cuda was asked for"):
            study.open_test()
    assert study.log.openings == []
    assert len(study.open_test()) == 1


def on_gpu(model: SavedModel) -> SavedModel:
    return replace(model, device="cuda")


def test_a_model_that_cannot_be_asked_leaves_all_rows_sealed(study: TrainedStudy) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.folder.model("ce-confirm-2").unlink()
    with pytest.raises(UserError, match=r"ce-confirm-2/model\.pt"):
        study.open_test()
    assert study.log.openings == []


def test_where_test_images_are_streamed_from_must_be_seen_where_models_are_asked(
    study: TrainedStudy, tmp_path: Path
) -> None:
    study.confirm("supcon", 0, 1)
    (run,) = study.log.of("supcon", "confirm")
    two = study.data.train.take(np.arange(2))
    sealed._try_out([saved_model(study, run)], two, tmp_path)
    with pytest.raises(UserError, match=r"^data\.root: .* cannot read .*/away; mount it there"):
        sealed._try_out([saved_model(study, run)], two, tmp_path / "away")


def change_test_images(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Split], Split], config: DataConfig
) -> None:
    changed = change(load_test(config))
    monkeypatch.setattr("search.judge.sealed.find_test", lambda _: changed)
    monkeypatch.setattr("search.judge.sealed.load_test", lambda _: changed)


def fewer(test: Split) -> Split:
    return test.take(np.arange(len(test) - 60))


def darker(test: Split) -> Split:
    return Split(test.images[:] // 2, test.labels)


def relabelled(test: Split) -> Split:
    return Split(test.images, test.labels[::-1].copy())


@pytest.mark.parametrize("change", [fewer, darker, relabelled])
def test_images_that_changed_after_an_opening_are_not_opened(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch, change: Callable[[Split], Split]
) -> None:
    study.confirm("supcon", 0, 3)
    (opening,) = study.open_test()
    study.confirm("ce", 0, 3)
    n_events = len(study.log.events)
    change_test_images(monkeypatch, change, study.space.config.data)
    with pytest.raises(UserError, match="the test images are not those") as error:
        study.open_test()
    assert f"(360 images, hash {opening.data_hash[:12]}; now 3" in str(error.value)
    assert "start another study" in str(error.value)
    assert len(study.log.events) == n_events
    with pytest.raises(UserError, match="the test images are not those"):  # before any training
        study.go_on()


def test_a_study_goes_on_with_the_test_images_that_it_had(study: TrainedStudy) -> None:
    study.confirm("supcon", 0, 3)
    study.open_test()
    study.go_on()
    study.confirm("ce", 0, 3)
    assert len(study.open_test()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("change", [fewer, darker, relabelled])
def test_a_log_whose_test_images_changed_has_a_report_without_a_verdict(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch, change: Callable[[Split], Split]
) -> None:
    study.confirm("supcon", 0, 3)
    study.open_test()
    study.confirm("ce", 0, 3)
    change_test_images(monkeypatch, change, study.space.config.data)
    # As it was once.
    monkeypatch.setattr("search.judge.sealed.Identity.is_unlike", lambda *_: False)
    study.open_test()
    monkeypatch.undo()
    summary = write_report(study)
    assert (summary.verdict.difference, summary.per_class) == (None, None)
    assert "No verdict: its runs were not tested on the same images" in summary.verdict.text


def test_a_folder_of_test_images_is_the_same_whichever_way_it_is_loaded(
    study: TrainedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(2):
                shade = Image.new("L", (8, 8), 40 * i)
                shade.save(tmp_path / part / name / f"{i}.bmp")  # all of one length
    base = {"data": {"name": "folder", "root": str(tmp_path), "image_size": 8}}
    space = parse_space(study.tree | {"base": base}, "x")
    data = Splits(study.data.train, study.data.val, ("cat", "dog"))
    resident = check_same_test(Study(space, study.log), data)
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 0)
    assert check_same_test(Study(space, study.log), data) == resident
    Image.new("L", (8, 8), 200).save(tmp_path / "test" / "cat" / "1.bmp")
    assert check_same_test(Study(space, study.log), data).is_unlike(resident)
    old = replace(resident, data_hash="0f", is_exact=False)
    assert not resident.is_unlike(old)  # which hash it was is not known


def test_a_row_stays_sealed_until_its_runs_have_ended_or_are_enough(study: TrainedStudy) -> None:
    study.confirm("supcon", 0, 2)
    assert study.open_test() == []
    study.confirm("supcon", 0, 1)
    assert len(study.open_test()) == 1


def test_nothing_is_opened_while_a_winner_is_open(study: TrainedStudy) -> None:
    study.restart(confirm={"top": 2, "seeds": 3, "references": False})
    study.search("ce", 1, 0.4)
    study.confirm("supcon", 0, 3)
    assert study.open_test() == []


def test_a_kill_between_opening_and_scoring_opens_nothing_twice(study: TrainedStudy) -> None:
    study.confirm("supcon", 0, 3)
    study.open_test()
    log = study.log
    whole = log.path.read_text().splitlines(keepends=True)
    log.close()
    log.path.write_text("".join(whole[:-2]))  # two of three scores were not written
    study.log = Journal.open(log.path, to_write=True)
    assert len(study.open_test()) == 1
    assert [t.tested is not None for t in study.log.of("supcon", "confirm")] == [True] * 3


def test_scores_are_those_of_the_images_that_were_classified_right(study: TrainedStudy) -> None:
    study.confirm("supcon", 0, 3)
    study.open_test()
    runs = study.log.of("supcon", "confirm")
    correct = correctness(runs, "probe")
    assert correct.shape == (3, len(load_test(study.space.config.data)))
    for run, right in zip(runs, correct, strict=True):
        assert run.tested is not None
        assert right.mean() == pytest.approx(run.tested.metrics["test/probe_top1"], abs=1e-6)


def test_scores_in_a_log_without_openings_are_openings_of_unknown_time(study: TrainedStudy) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open_test()
    study.search("ce", 1, 0.4)
    log = study.log
    lines = [e.model_dump_json() for e in log.events if not isinstance(e, Unsealed)]
    log.path.write_text("\n".join([*lines, ""]))
    summary = write_report(Study.open(study.folder.path))
    assert summary.test_openings == [
        Opening(f"{arm}, confirm", None, None, None, None, [f"{arm}-confirm-{i}" for i in range(3)])
        for arm in ("supcon", "ce")
    ]
    assert "had been opened before (2 openings in all" in summary.verdict.text
    report = (study.folder.path / "report.md").read_text()
    assert "- time unknown: ce, confirm (ce-confirm-0" in report


def test_nothing_is_opened_where_unequal_searches_allow_no_verdict(study: TrainedStudy) -> None:
    for number in (1, 2):
        study.search("ce", number, 0.4)
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    assert study.open_test() == []
    assert "more than twice as many" in summarise(study).verdict.text


def test_opened_images_are_looked_at_again_without_a_further_opening(study: TrainedStudy) -> None:
    with pytest.raises(UserError, match="its test images are sealed"):
        sealed.opened_images(study, study.data)
    study.confirm_both()
    before = len(study.log.events)
    test, unknown = sealed.opened_images(study, study.data)
    assert len(test) == 360
    assert unknown is None
    assert len(study.log.events) == before


def test_other_images_than_those_that_were_opened_are_refused(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    change_test_images(monkeypatch, fewer, study.space.config.data)
    with pytest.raises(UserError, match="the test images are not those"):
        sealed.opened_images(study, study.data)
