"""What is around a run of Ray's Tuner: when it must end, and what it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from search.engine.tuner import StopAll, remove_checkpoint, run_trials
from search.log.journal import Journal
from search.strategy.search_order import SearchOrder
from supcon.parsing import UserError
from tests.benchmarks.reliability import story
from tests.without_ray import SMALL, Search
from tests.written import WrittenStudy

CONTROLLER = logging.getLogger("ray.tune.execution.tune_controller")


class FakeTuner:
    """In place of Ray's: does as a test says."""

    def __init__(self, fit: Callable[[], None]) -> None:
        self.fit = fit


@pytest.fixture
def study(tmp_path: Path) -> Iterator[WrittenStudy]:
    study = WrittenStudy(tmp_path)
    yield study
    study.log.close()


def run(study: WrittenStudy, monkeypatch: pytest.MonkeyPatch, fit: Callable[[], None]) -> str:
    """Run trials; the scratch folder that Ray got for that."""
    got: list[str] = []

    def tuner(*arguments: object) -> FakeTuner:
        got.append(str(arguments[-1]))
        assert Path(got[0]).is_dir()
        return FakeTuner(fit)

    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("search.engine.tuner._tuner", tuner)
    try:
        run_trials(study, None, ["search"], SearchOrder(study), lambda: False)
    finally:
        assert not Path(got[0]).exists()
        assert CONTROLLER.filters == []
    return got[0]


def test_ray_gets_a_folder_that_is_gone_afterwards(
    study: WrittenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(study, monkeypatch, lambda: None) != run(study, monkeypatch, lambda: None)


def test_a_log_that_cannot_be_written_is_what_is_said_whatever_ray_makes_of_it(
    study: WrittenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit() -> None:
        study.log.path.unlink()
        with pytest.raises(UserError):
            study.ask("ce", 0)
        raise RuntimeError("what Ray makes of it")

    with pytest.raises(UserError, match=r"cannot be written .No such file.* go on with --resume"):
        run(study, monkeypatch, fit)


def test_another_error_of_ray_is_not_hidden(
    study: WrittenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit() -> None:
        raise RuntimeError("of Ray's own")

    with pytest.raises(RuntimeError, match="of Ray's own"):
        run(study, monkeypatch, fit)


def test_a_tuner_ends_when_it_is_asked_to_and_no_trial_alone() -> None:
    asked = [False]
    stop = StopAll(lambda: asked[0])
    assert not stop.stop_all()
    asked[0] = True
    assert stop.stop_all()
    assert not stop("ray-1", {})


def test_the_checkpoint_of_a_trial_that_has_ended_is_removed_and_its_model_kept(
    study: WrittenStudy,
) -> None:
    study.log.listeners.append(lambda event: remove_checkpoint(study, event))
    study.ask("ce", 0, "confirm")
    folder = study.folder
    folder.trial("ce-confirm-0").mkdir(parents=True)
    for path in (folder.checkpoint("ce-confirm-0"), folder.model("ce-confirm-0")):
        path.touch()
    study.report("ce", 0, 9, 0.5, "confirm")
    assert folder.checkpoint("ce-confirm-0").exists()
    study.end("ce", 0, "completed", "confirm")
    assert not folder.checkpoint("ce-confirm-0").exists()
    assert folder.model("ce-confirm-0").exists()
    study.ask("ce", 1)
    study.end("ce", 1, "failed")  # it never had one


def test_of_the_trials_that_wait_at_a_rung_only_the_best_keep_their_checkpoints(
    study: WrittenStudy,
) -> None:
    study.log.listeners.append(lambda event: remove_checkpoint(study, event))
    for number, score in enumerate([0.5, 0.2, 0.4, 0.3, 0.1, 0.6]):
        study.ask("ce", number)
        study.folder.trial(f"ce-{number}").mkdir(parents=True)
        study.folder.checkpoint(f"ce-{number}").touch()
        study.report("ce", number, 1, score, decision="pause")
    left = [number for number in range(6) if study.folder.checkpoint(f"ce-{number}").exists()]
    assert left == [0, 2, 5]


@pytest.mark.slow
def test_a_trial_that_gave_its_checkpoint_up_goes_on_as_if_it_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = []
    for name, kept in (("with", 3), ("without", 0)):
        monkeypatch.setattr("search.strategy.promotion.CHECKPOINTS", kept)
        search = Search(tmp_path / name)
        rules = {"asha": {"grace": 1, "reduction": 2, "sentinels": 0.5}}
        space = SMALL | {"name": "x", "scheduler": rules, "budget": {"trials": 4}}
        search.space.write_text(yaml.safe_dump(space))
        assert search.run() == (0, []), search.said
        logs.append(story(Journal.open(search.results / "x" / "events.jsonl").events))
        trained = [line for line in search.said.splitlines() if " goes on " in line]
        assert len(trained) >= 2
    assert logs[0] == logs[1]
