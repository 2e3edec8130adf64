"""When the sealed test images are opened, what of it is logged, and what comes of models later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.course import reopen
from search.engine.shared_images import Images
from search.judge.noise_floor import NoisePlan, check_noise_floor, describe_noise
from search.judge.sealed import check_same_test, correctness, open_test, unpack_labels
from search.judge.tsne import add_pictures
from search.log.events import Ask, End, Opened, Report, Scored, Unsealed
from search.log.journal import Journal
from search.reporting.files import write_report
from search.reporting.summarise import summarise
from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.confirmation import next_run
from supcon.config import Config, DataConfig, override
from supcon.evaluation.trained import Trained, save_trained
from supcon.images.loading import load_test
from supcon.images.split import Split, Splits
from supcon.parsing import UserError
from supcon.train import fit

TREE: dict[str, Any] = {
    "name": "x",
    "params": {"optim.lr_per_256": {"loguniform": [0.1, 1]}},
    "arms": {"supcon": {"loss.name": "supcon"}, "ce": {"loss.name": "ce"}},
    "budget": {"trials": 3},
    "scheduler": "none",
    "confirm": {"top": 1, "seeds": 3, "references": False},
}


class Study:
    """A study whose runs all end with one of two models, an arm each."""

    def __init__(self, path: Path, models: dict[str, Trained], config: Config, data: Splits):
        tree = TREE | {"base": _base(config)}
        opened = Opened(study="x", space=tree, commit="abc", versions={})
        self.space = parse_space(tree, "x")
        self.journal = Journal.create(path / "x" / "events.jsonl", opened)
        self.models, self.data = models, data

    def train(self, ask: Ask, score: float = 0.5) -> None:
        self.journal.append(ask)
        key: dict[str, Any] = {"arm": ask.arm, "phase": ask.phase, "number": ask.number}
        metrics = {"val/probe_top1": score, "val/knn_top1": score}
        report = Report(**key, epoch=1, metrics=metrics, views=9, seconds=9, decision="done")
        self.journal.append(report)
        folder = self.journal.path.parent / "trials" / self.journal.trials[ask.key].name
        folder.mkdir(parents=True)
        config = self.space.trial_config(ask.arm, ask.params, ask.seed)
        save_trained(self.models[ask.arm], config, self.data, folder / "model.pt")
        self.journal.append(End(**key, outcome="completed"))

    def search(self, arm: str, number: int, score: float) -> None:
        params = {"optim.lr_per_256": 0.2 + number / 10}
        self.train(Ask(arm=arm, phase="search", number=number, params=params, seed=0), score)

    def confirm(self, arm: str, of: int, seeds: int) -> None:
        for _ in range(seeds):
            number = len(self.journal.of(arm, "confirm"))
            params = {"optim.lr_per_256": 0.2 + of / 10}
            self.train(
                Ask(arm=arm, phase="confirm", number=number, params=params, seed=number, of=of)
            )

    def open(self) -> list[Unsealed]:
        open_test(self.space, self.journal, self.data)
        return self.journal.openings


def _base(config: Config) -> dict[str, Any]:
    tree = config.model_dump(mode="json")
    del tree["run"]["seed"], tree["run"]["eval_at"]
    return tree


@pytest.fixture(scope="module")
def models(tiny: Config, digits: Splits) -> dict[str, Trained]:
    found = {}
    for loss in ("supcon", "ce"):
        (record,) = fit(override(tiny, {"loss.name": loss, "run.epochs": 1}), digits)
        assert record.trained is not None
        found[loss] = record.trained
    return found


@pytest.fixture
def study(tmp_path: Path, models: dict[str, Trained], tiny: Config, digits: Splits) -> Study:
    study = Study(tmp_path, models, tiny, digits)
    for arm in ("supcon", "ce"):
        study.search(arm, 0, 0.5)
    return study


def test_each_row_is_opened_once_and_the_opening_comes_before_any_score(study: Study) -> None:
    study.confirm("supcon", 0, 3)
    study.confirm("ce", 0, 3)
    openings = study.open()
    assert [(o.arm, o.phase, o.numbers) for o in openings] == [
        ("supcon", "confirm", [0, 1, 2]), ("ce", "confirm", [0, 1, 2]),
    ]  # fmt: skip
    kinds = [type(event) for event in study.journal.events]
    assert max(i for i, k in enumerate(kinds) if k is Unsealed) < kinds.index(Scored)
    n_events = len(study.journal.events)
    study.open()
    assert len(study.journal.events) == n_events


def test_the_ledger_says_when_with_which_code_and_which_images(study: Study) -> None:
    study.confirm("supcon", 0, 3)
    (opening, *_) = study.open()
    test = load_test(study.space.config.data)
    assert opening.time > 0
    assert opening.commit == "abc"
    assert len(opening.data_hash) == 32
    assert opening.data_hash != study.data.fingerprint()
    assert unpack_labels(opening.labels).tolist() == test.labels.tolist()
    summary = summarise(study.space, study.journal)
    assert len(summary["test_openings"]) == 1
    assert summary["test_openings"][0]["runs"] == [f"supcon-confirm-{i}" for i in range(3)]
    assert summary["test_evaluations"] == 3


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
    study: Study, monkeypatch: pytest.MonkeyPatch, change: Callable[[Split], Split]
) -> None:
    study.confirm("supcon", 0, 3)
    (opening,) = study.open()
    study.confirm("ce", 0, 3)
    n_events = len(study.journal.events)
    change_test_images(monkeypatch, change, study.space.config.data)
    with pytest.raises(UserError, match="the test images are not those") as error:
        study.open()
    assert f"(360 images, hash {opening.data_hash[:12]}; now 3" in str(error.value)
    assert "start another study" in str(error.value)
    assert len(study.journal.events) == n_events
    with pytest.raises(UserError, match="the test images are not those"):  # before any training
        reopen_again(study)


def reopen_again(study: Study) -> None:
    study.journal.close()
    folder, images = study.journal.path.parent, Images(study.data)
    study.journal = reopen(folder, study.space, images, "again")


def test_a_study_goes_on_with_the_test_images_that_it_had(study: Study) -> None:
    study.confirm("supcon", 0, 3)
    study.open()
    reopen_again(study)
    study.confirm("ce", 0, 3)
    assert len(study.open()) == 2


@pytest.mark.parametrize("change", [fewer, darker, relabelled])
def test_a_log_whose_test_images_changed_has_a_report_without_a_verdict(
    study: Study, monkeypatch: pytest.MonkeyPatch, change: Callable[[Split], Split]
) -> None:
    study.confirm("supcon", 0, 3)
    study.open()
    study.confirm("ce", 0, 3)
    change_test_images(monkeypatch, change, study.space.config.data)
    # As it was once.
    monkeypatch.setattr("search.judge.sealed.Identity.is_unlike", lambda *_: False)
    study.open()
    monkeypatch.undo()
    summary = write_report(study.journal)
    assert summary["verdict"]["difference"] is summary["per_class"] is None
    assert "No verdict: its runs were not tested on the same images" in summary["verdict"]["text"]


def test_a_folder_of_test_images_is_the_same_whichever_way_it_is_loaded(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(2):
                shade = Image.new("L", (8, 8), 40 * i)
                shade.save(tmp_path / part / name / f"{i}.bmp")  # all of one length
    base = {"data": {"name": "folder", "root": str(tmp_path), "image_size": 8}}
    space = parse_space(TREE | {"base": base}, "x")
    data = Splits(study.data.train, study.data.val, ("cat", "dog"))
    resident = check_same_test(space, study.journal, data)
    monkeypatch.setattr("supcon.images.memory.free_memory", lambda: 0)
    assert check_same_test(space, study.journal, data) == resident
    Image.new("L", (8, 8), 200).save(tmp_path / "test" / "cat" / "1.bmp")
    assert check_same_test(space, study.journal, data).is_unlike(resident)
    old = replace(resident, data_hash="0f", is_exact=False)
    assert not resident.is_unlike(old)  # which hash it was is not known


def test_a_row_stays_sealed_until_its_runs_have_ended_or_are_enough(study: Study) -> None:
    study.confirm("supcon", 0, 2)
    assert study.open() == []
    study.confirm("supcon", 0, 1)
    assert len(study.open()) == 1


def test_nothing_is_opened_while_a_winner_is_open(study: Study) -> None:
    study.space = parse_space(
        study.space.dump() | {"confirm": {"top": 2, "seeds": 3, "references": False}}, "x"
    )
    study.search("ce", 1, 0.4)
    study.confirm("supcon", 0, 3)
    assert study.open() == []


def test_a_kill_between_opening_and_scoring_opens_nothing_twice(study: Study) -> None:
    study.confirm("supcon", 0, 3)
    study.open()
    journal = study.journal
    whole = journal.path.read_text().splitlines(keepends=True)
    journal.close()
    journal.path.write_text("".join(whole[:-2]))  # two of three scores were not written
    study.journal = Journal.open(journal.path, to_write=True)
    assert len(study.open()) == 1
    assert [t.tested is not None for t in study.journal.of("supcon", "confirm")] == [True] * 3


def test_scores_are_those_of_the_images_that_were_classified_right(study: Study) -> None:
    study.confirm("supcon", 0, 3)
    study.open()
    runs = study.journal.of("supcon", "confirm")
    correct = correctness(runs, "probe")
    assert correct.shape == (3, len(load_test(study.space.config.data)))
    for run, right in zip(runs, correct, strict=True):
        assert run.tested is not None
        assert right.mean() == pytest.approx(run.tested.metrics["test/probe_top1"], abs=1e-6)


def test_a_verdict_after_an_earlier_opening_says_so(study: Study) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open()
    first = summarise(study.space, study.journal)["verdict"]["text"]
    assert "opened before" not in first
    study.search("ce", 1, 0.9)  # a larger budget found a better one
    study.confirm("ce", 1, 3)
    study.open()
    text = summarise(study.space, study.journal)["verdict"]["text"]
    assert text.startswith("These two configurations on this split")
    assert "had been opened before (3 openings in all" in text


def test_an_arm_that_was_opened_alone_is_not_forgotten(study: Study) -> None:
    study.confirm("supcon", 0, 3)
    study.open()
    study.confirm("ce", 0, 3)
    study.open()
    assert "opened before" in summarise(study.space, study.journal)["verdict"]["text"]


def test_scores_in_a_log_without_openings_are_openings_of_unknown_time(study: Study) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open()
    study.search("ce", 1, 0.4)
    journal = study.journal
    lines = [e.model_dump_json() for e in journal.events if not isinstance(e, Unsealed)]
    journal.path.write_text("\n".join([*lines, ""]))
    summary = write_report(Journal.open(journal.path))
    unknown = {"when": None, "commit": None, "data_hash": None, "of_files": None}
    assert summary["test_openings"] == [
        {"what": f"{arm}, confirm", **unknown, "runs": [f"{arm}-confirm-{i}" for i in range(3)]}
        for arm in ("supcon", "ce")
    ]
    assert "had been opened before (2 openings in all" in summary["verdict"]["text"]
    assert (
        "- time unknown: ce, confirm (ce-confirm-0"
        in (journal.path.parent / "report.md").read_text()
    )


def test_nothing_is_opened_where_unequal_searches_allow_no_verdict(study: Study) -> None:
    for number in (1, 2):
        study.search("ce", number, 0.4)
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    assert study.open() == []
    assert "more than twice as many" in summarise(study.space, study.journal)["verdict"]["text"]


def test_runs_that_diverged_are_named_next_to_the_verdict(study: Study) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    params = {"optim.lr_per_256": 0.2}
    ask = Ask(arm="ce", phase="confirm", number=3, params=params, seed=9, of=0)
    study.journal.append(ask)
    study.journal.end(ask.key, "diverged")
    study.open()
    (warning,) = summarise(study.space, study.journal)["verdict"]["warnings"]
    assert "ce winner: of 4 runs on fresh seeds 1 diverged" in warning


def test_a_run_that_failed_is_no_lost_one_after_another_seed_took_its_place(study: Study) -> None:
    study.confirm("supcon", 0, 3)
    study.confirm("ce", 0, 2)
    params = {"optim.lr_per_256": 0.2}
    ask = Ask(arm="ce", phase="confirm", number=2, params=params, seed=9, of=0)
    study.journal.append(ask)
    study.journal.end(ask.key, "failed", detail="OSError: no space left on device")
    warnings = summarise(study.space, study.journal)["verdict"]["warnings"]
    assert "ce winner: of 3 runs on fresh seeds 1 failed" in warnings[0]
    time.sleep(0.002)  # the log counts milliseconds
    reopen_again(study)
    study.confirm("ce", 0, 1)
    study.open()
    verdict = summarise(study.space, study.journal)["verdict"]
    assert (verdict["n_seeds"], verdict["warnings"]) == (3, [])


def test_classes_are_compared_one_by_one(study: Study) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open()
    summary = summarise(study.space, study.journal)
    per_class, verdict = summary["per_class"], summary["verdict"]
    assert per_class["classes"] == list(study.data.classes)
    mean = np.average(per_class["difference"], weights=per_class["n"])
    assert mean == pytest.approx(verdict["difference"])


def test_a_picture_is_logged_once_for_each_winner(study: Study) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    add_pictures(study.space, study.journal, study.data)
    assert study.journal.pictures == []  # not before the test images were opened
    study.open()
    for _ in range(2):
        add_pictures(study.space, study.journal, study.data)
    supcon, ce = study.journal.pictures
    assert len(supcon.encoder) == len(supcon.labels) == len(study.data.val)
    assert supcon.projection is not None
    assert ce.projection is None
    assert set(summarise(study.space, study.journal)["tsne"]) == {"supcon", "ce"}


def with_references(space: Space) -> Space:
    return parse_space(space.dump() | {"confirm": {"top": 1, "seeds": 3}}, "x")


def test_the_noise_floor_is_read_off_val_and_leaves_test_sealed(study: Study) -> None:
    study.space = with_references(study.space)
    plan = NoisePlan(study.space, study.journal)
    while (ask := plan()) is not None:
        study.train(ask, score=0.5 + ask.number / 100)
    text = "\n".join(describe_noise(study.space, study.journal, study.data))
    assert "51.00 +- 1.00: 50.00, 51.00, 52.00" in text
    assert "3 seeds and 360 test images will probably show differences from" in text
    assert study.journal.openings == []
    assert not study.journal.is_searched  # the search is still to come


def test_the_noise_floor_without_two_runs_says_what_it_takes(study: Study) -> None:
    study.space = with_references(study.space)
    text = "\n".join(describe_noise(study.space, study.journal, study.data))
    assert "takes 2 seeds of 2 losses" in text


@pytest.mark.parametrize("confirm", [{"seeds": 2}, {"references": False}])
def test_the_noise_floor_needs_reference_rows_of_three_seeds(confirm: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"--noise-floor: .*confirm\.seeds at least 3"):
        check_noise_floor(parse_space(TREE | {"confirm": confirm}, "x"))


def test_noise_runs_are_those_of_the_reference_rows(study: Study) -> None:
    space = with_references(study.space)
    ask = NoisePlan(space, study.journal)()
    assert ask is not None
    assert (ask.phase, ask.number, ask.of) == ("published", 0, None)
    assert next_run(space, study.journal, []) is None
