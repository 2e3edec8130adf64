"""A study from its opening to its report, without Ray."""

from __future__ import annotations

import csv
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from PIL import Image

from search.course import conclude, create, execute, reopen
from search.engine.interrupts import Interrupt
from search.engine.shared_images import SharedImages
from search.log.events import Searched, Started
from search.log.folder import StudyFolder
from search.log.journal import Journal
from search.log.study import Study
from search.preflight.options import parse_options
from search.preflight.which_study import Chosen
from search.space.loading import parse_space
from supcon.images.files import ImageFiles
from supcon.images.loading import find_test, load_splits
from supcon.images.split import Splits
from supcon.parsing import UserError
from tests.written import TREE, WrittenStudy

Train = Callable[..., None]


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    """One that has just begun, with a trial an arm."""
    changes = {"budget": {"trials": 1}, "scheduler": "none", "confirm": {"top": 1, "seeds": 3}}
    return WrittenStudy(tmp_path, **changes)


@pytest.fixture
def start(
    study: WrittenStudy, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Train], bool]:
    """Runs the study with another function in place of Ray."""

    @contextmanager
    def nothing(*_: object) -> Iterator[str]:
        yield ""

    def run(train: Train) -> bool:
        monkeypatch.setattr("search.course.ray_session", nothing)
        monkeypatch.setattr("search.engine.shared_images.SharedImages.shared", nothing)
        monkeypatch.setattr("search.course.check_room", lambda _: None)
        monkeypatch.setattr("search.course.endpoint", str)
        monkeypatch.setattr("search.course.Metrics", lambda *_: print)
        monkeypatch.setattr("search.course.run_trials", train)
        options = parse_options("", ["--space", "x.yaml", "--noise-floor"])
        with Interrupt().installed() as interrupt:
            execute(study, SharedImages(digits), options, None, interrupt)
        return interrupt.requested

    return run


@pytest.mark.parametrize("at", ["published", "search"])
def test_after_ctrl_c_nothing_is_computed_and_nothing_decided(
    start: Callable[[Train], bool], study: WrittenStudy, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    phases = list[str]()

    def describe(*_: object) -> list[str]:
        phases.append("noise")
        return []

    monkeypatch.setattr("search.course.describe_noise", describe)

    def train(_: Study, data: Any, asked: Any, plan: Any, must_stop: Callable[[], bool]) -> None:
        phases.append(asked[0])
        if asked[0] == "search":
            study.train(plan())
        assert not must_stop()
        if asked[0] == at:
            signal.raise_signal(signal.SIGINT)
            assert must_stop()

    assert start(train)
    assert phases == ["published", "noise", "search"][: 1 if at == "published" else 3]
    assert not study.log.is_searched


def test_the_log_says_once_that_the_search_is_over(
    start: Callable[[Train], bool], study: WrittenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.course.describe_noise", lambda *_: [])
    asked = list[Any]()

    def train(_: Study, data: Any, phases: Any, plan: Any, must_stop: Callable[[], bool]) -> None:
        asked.append([each.phase for each in study.follow(plan, most=3)])
        if phases[0] == "search":
            signal.raise_signal(signal.SIGINT)

    for _ in range(2):
        assert start(train)
    published = 3 * ["published"]
    # The search and what follows it run in the same workers.
    assert asked == [published, ["search", "search", "confirm"], published, 3 * ["confirm"]]
    assert [type(event) for event in study.log.events].count(Searched) == 1


def test_a_search_whose_time_is_up_is_confirmed_in_what_was_kept_for_it(
    start: Callable[[Train], bool], study: WrittenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.course.describe_noise", lambda *_: [])
    asked, is_over = list[Any](), [False]
    monkeypatch.setattr("search.course.must_confirm", lambda *_: is_over[0])

    def train(_: Study, data: Any, phases: Any, plan: Any, must_stop: Callable[[], bool]) -> None:
        asked.append([each.phase for each in study.follow(plan, most=1)])
        is_over[0] = phases[0] == "search"
        assert must_stop() == is_over[0]

    assert not start(train)
    assert asked == [["published"], ["search"], ["confirm"]]
    assert study.log.is_searched


def test_a_study_that_only_lacks_its_test_scores_starts_no_ray(
    confirmed: WrittenStudy, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[str]()
    monkeypatch.setattr("search.course.open_test", lambda study, *_: opened.append(study.name))
    options = parse_options("", ["--space", "x.yaml", "--resume"])
    execute(confirmed, SharedImages(digits), options, None, Interrupt())
    assert opened == ["x"]
    shown = optuna.load_study(study_name="ce", storage=f"sqlite:///{confirmed.folder.database}")
    assert len(shown.trials) == 1  # the mirror was missing


def test_a_signal_while_test_images_are_scored_keeps_what_was_scored_for_the_report(
    confirmed: WrittenStudy, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.course.open_test", lambda *_: signal.raise_signal(signal.SIGUSR1))
    options = parse_options("", ["--space", "x.yaml", "--resume"])
    with Interrupt().installed() as interrupt:
        execute(confirmed, SharedImages(digits), options, None, interrupt)
    assert conclude(confirmed, SharedImages(digits), interrupt) == 75
    assert confirmed.folder.page.exists()


# Its log


@pytest.fixture
def chosen(study: WrittenStudy, tmp_path: Path) -> Chosen:
    """A new study of the same space."""
    return Chosen(StudyFolder(tmp_path / "new"), study.space)


def test_a_study_goes_on_where_its_log_ends_on_the_same_images_alone(
    chosen: Chosen, digits: Splits
) -> None:
    images = SharedImages(digits)
    create(chosen, images, "first").log.close()
    study = reopen(chosen, images, "second")
    assert [e.command for e in study.log.events if isinstance(e, Started)] == ["first", "second"]
    study.log.close()
    others = SharedImages(Splits(digits.val, digits.train, digits.classes))
    for _ in range(2):  # the claim on the study is given back
        with pytest.raises(UserError, match="was started on other images than there are under dat"):
            reopen(chosen, others, "third")
    assert len(Journal.open(chosen.folder.events).events) == 2


def test_a_results_folder_that_cannot_be_written_is_named(
    chosen: Chosen, digits: Splits, tmp_path: Path
) -> None:
    (tmp_path / "new").write_text("a file")
    with pytest.raises(UserError, match=rf"--results {tmp_path}: cannot be written"):
        create(chosen, SharedImages(digits), "")


# Its end


def test_the_end_names_the_report_and_how_to_train_each_winner_again(
    confirmed: WrittenStudy, digits: Splits, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conclude(confirmed, SharedImages(digits), Interrupt()) == 0
    folder, said = confirmed.folder, capsys.readouterr()
    assert said.out.splitlines()[-3:] == [
        f"report    {folder.page} (also report.md, summary.json, trials.csv)",
        f"retrain   python -m supcon train {folder.best('supcon')}",
        f"retrain   python -m supcon train {folder.best('ce')}",
    ]
    assert said.err == ""
    for path in (folder.page, folder.summary, folder.best("supcon"), folder.best("ce")):
        assert path.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_an_interrupted_study_has_a_report_too_and_says_how_it_goes_on(
    study: WrittenStudy, digits: Splits, capsys: pytest.CaptureFixture[str],
    number: signal.Signals, code: int,
) -> None:  # fmt: skip
    study.trial("ce", 0, 0.5)
    interrupt = Interrupt()
    interrupt.by = number
    assert conclude(study, SharedImages(digits), interrupt) == code
    said = capsys.readouterr()
    assert said.err == "interrupted; go on with the same --space and --name x --resume\n"
    assert "No verdict: the search is not over" in said.out
    assert study.folder.page.exists()


def test_a_study_without_a_trained_trial_has_no_result(
    study: WrittenStudy, digits: Splits, capsys: pytest.CaptureFixture[str]
) -> None:
    study.ask("ce", 0)
    study.end("ce", 0, "diverged")
    assert conclude(study, SharedImages(digits), Interrupt()) == 1
    assert capsys.readouterr().err == "no arm has a result; the report and trials.csv say why\n"


def test_a_study_writes_down_which_image_is_in_which_part(tmp_path: Path) -> None:
    images = tmp_path / "pictures"
    for name in ("cat", "dog"):
        (images / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (8, 8), 10 * i).save(images / name / f"{i}.png")
    (images / "cat" / "7.png").write_bytes(b"no image")
    data = {"name": "folder", "root": str(images), "image_size": 8, "broken": "skip"}
    space = parse_space(TREE | {"base": {"data": data, "run": {"epochs": 9}}}, "x")
    loaded = load_splits(space.config.data)
    folder = StudyFolder(tmp_path / "results" / "x")
    create(Chosen(folder, space), SharedImages(loaded), "").log.close()
    with folder.images.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["split"] for row in rows) == {"train": 28, "val": 3, "test": 8, "": 1}
    assert [row["path"] for row in rows if not row["split"]] == [f"{images}/cat/7.png"]
    test = find_test(space.config.data).images
    assert isinstance(test, ImageFiles)
    assert [row["path"] for row in rows if row["split"] == "test"] == [*map(str, test.paths())]


def test_images_that_come_with_a_library_are_not_written_down(
    tmp_path: Path, digits: Splits
) -> None:
    folder = StudyFolder(tmp_path / "x")
    create(Chosen(folder, parse_space(TREE, "x")), SharedImages(digits), "").log.close()
    assert not folder.images.exists()
