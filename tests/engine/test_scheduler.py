"""What trials report to Ray is logged, and the log says which of them go on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.engine.scheduler import LoggedAsha
from search.log.events import Promoted
from search.log.study import Study
from tests.written import WrittenStudy


@pytest.fixture
def asha(tmp_path: Path) -> LoggedAsha:
    """Three trials of each arm run."""
    rules = {"asha": {"grace": 3, "reduction": 3, "sentinels": 0, "promotion": False}}
    study = WrittenStudy(tmp_path, scheduler=rules)
    for arm in study.arms:
        for number in range(3):
            study.ask(arm, number)
    return LoggedAsha(study)


def trial(number: int, arm: str = "ce") -> Any:
    return SimpleNamespace(config={"arm": arm, "phase": "search", "number": number})


def result(epoch: int, score: float, **more: Any) -> dict[str, Any]:
    metrics = [("val/probe_top1", score)]
    return {
        "epoch": epoch,
        "metrics": metrics,
        "views": 10,
        "seconds": 1.0,
        "evaluation_seconds": 0.1,
        "first_step": 1.7e9,
        "checkpoint_seconds": 0.5,
        "memory": None,
    } | more


def test_trials_are_compared_within_their_arm(asha: LoggedAsha) -> None:
    assert asha.on_trial_result(None, trial(0), result(3, 0.9)) == "CONTINUE"
    assert asha.on_trial_result(None, trial(1), result(3, 0.8)) == "STOP"
    assert asha.on_trial_result(None, trial(0, "supcon"), result(3, 0.5)) == "CONTINUE"
    assert asha.study.log.trials["ce", "search", 1].outcome == "stopped"


def test_rungs_survive_a_restart(asha: LoggedAsha) -> None:
    asha.on_trial_result(None, trial(0), result(3, 0.9))
    restarted = LoggedAsha(Study.open(asha.study.folder.path))
    assert restarted.on_trial_result(None, trial(1), result(3, 0.8)) == "STOP"


def test_a_record_that_a_resumed_trial_repeats_is_decided_on_once(asha: LoggedAsha) -> None:
    asha.on_trial_result(None, trial(0), result(3, 0.8))
    asha.on_trial_result(None, trial(1), result(3, 0.9))
    n_events = len(asha.study.log.events)
    assert asha.on_trial_result(None, trial(0), result(3, 0.8)) == "CONTINUE"
    assert len(asha.study.log.events) == n_events


def test_a_trial_killed_between_its_decision_and_its_end_is_ended(asha: LoggedAsha) -> None:
    asha.on_trial_result(None, trial(0), result(3, 0.9))
    asha.on_trial_result(None, trial(1), result(3, 0.8))
    lines = asha.study.log.path.read_text().splitlines(keepends=True)
    asha.study.log.path.write_text("".join(lines[:-1]))  # without trial 1's end
    restarted = LoggedAsha(Study.open(asha.study.folder.path))
    assert restarted.on_trial_result(None, trial(1), result(3, 0.8)) == "STOP"
    assert restarted.study.log.trials["ce", "search", 1].outcome == "stopped"
    assert restarted.study.log.trials["ce", "search", 1].epochs == 3


def test_a_trial_pauses_without_an_end_and_goes_on_once_it_is_promoted(tmp_path: Path) -> None:
    rules = {"asha": {"grace": 3, "reduction": 3, "promotion": True}}
    study = WrittenStudy(tmp_path, scheduler=rules)
    study.ask("ce", 0)
    asha, paused = LoggedAsha(study), result(3, 0.9)
    assert asha.on_trial_result(None, trial(0), paused) == "STOP"
    asha.on_trial_complete(None, trial(0), paused | {"outcome": ""})  # so does Ray
    waiting = study.log.trials["ce", "search", 0]
    assert waiting.is_paused
    assert waiting.end is None
    study.add(Promoted, arm="ce", phase="search", number=0, why="sentinel")
    n_events = len(study.log.events)
    assert asha.on_trial_result(None, trial(0), paused) == "CONTINUE"  # from its checkpoint
    assert len(study.log.events) == n_events
    asha.on_trial_complete(None, trial(0), result(9, 0.95, outcome="completed"))
    assert waiting.outcome == "completed"
    assert list(waiting.scores) == [3, 9]


@pytest.mark.parametrize("outcome", ["completed", "diverged", "infeasible", "failed"])
def test_every_way_to_be_done_is_one_outcome(asha: LoggedAsha, outcome: str) -> None:
    for _ in range(2 if outcome == "infeasible" else 1):  # that one gets a second chance
        assert asha.study.log.trials["ce", "search", 0].outcome is None
        asha.on_trial_complete(None, trial(0), result(9, 0.9, outcome=outcome, detail="why"))
    ended = asha.study.log.trials["ce", "search", 0]
    assert ended.outcome == outcome
    assert ended.epochs == 9
    assert len(ended.reports) == (outcome == "completed")
    assert ended.end is not None
    assert ended.end.detail == "why"


def test_what_ended_a_trials_process_is_kept_for_its_last_line(
    asha: LoggedAsha, tmp_path: Path
) -> None:
    (tmp_path / "error.txt").write_text("Traceback:\n  File ...\nOSError: no such folder: /x\n\n")
    died = trial(1)
    died.error_file = str(tmp_path / "error.txt")
    asha.on_trial_error(None, died)
    assert asha.errors == {("ce", "search", 1): "OSError: no such folder: /x"}
