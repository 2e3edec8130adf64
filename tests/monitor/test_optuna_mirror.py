"""study.db says what the log says, and a search does not care whether it can be written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search.log.events import Ask, End, Opened, Outcome, Report
from search.log.journal import Journal
from search.monitor.optuna_mirror import Mirror
from search.space.loading import parse_space
from search.space.space import Space

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {
        "optim.lr_per_256": {"loguniform": [0.01, 1]},
        "data.batch_size": {"pow2": [16, 256]},
        "model.head": {"choice": ["mlp", "linear"]},
        "optim.name": {"choice": ["sgd", "adamw"]},
        "optim.momentum": {"uniform": [0, 0.9], "step": 0.1, "when": {"optim.name": "sgd"}},
    },
    "budget": {"trials": 9},
    "scheduler": {"asha": {"grace": 1}},
}
PARAMS = {"optim.lr_per_256": 0.1, "data.batch_size": 64, "optim.name": "adamw"}
ENDS: list[tuple[Outcome | None, TrialState]] = [
    ("completed", TrialState.COMPLETE),
    ("stopped", TrialState.PRUNED),
    ("diverged", TrialState.PRUNED),
    ("failed", TrialState.FAIL),
    (None, TrialState.RUNNING),
]


@pytest.fixture
def study(tmp_path: Path) -> tuple[Space, Journal]:
    opened = Opened(study="x", space=TREE, commit="", versions={})
    return parse_space(TREE, "x"), Journal.create(tmp_path / "s" / "events.jsonl", opened)


def run_trials(journal: Journal) -> None:
    """A trial of either arm for each way to end, and one of the confirmation."""
    for number, (outcome, _) in enumerate(ENDS):
        for arm in ("supcon", "ce"):
            key: dict[str, Any] = {"arm": arm, "phase": "search", "number": number}
            params = PARAMS | ({"model.head": "mlp"} if arm == "supcon" else {})
            journal.append(Ask(**key, params=params, seed=number))
            for epoch in (1, 3):
                metrics = {"val/probe_top1": epoch / 10}
                spent = {"views": 1, "seconds": 1}
                journal.append(
                    Report(**key, epoch=epoch, metrics=metrics, **spent, decision="continue")
                )
            if outcome is not None:
                journal.append(End(**key, outcome=outcome, detail="so it went"))
    journal.append(Ask(arm="ce", phase="confirm", number=0, params=PARAMS, seed=0))


def stored(journal: Journal, arm: str) -> list[FrozenTrial]:
    url = f"sqlite:///{journal.path.parent / 'study.db'}"
    return optuna.load_study(study_name=arm, storage=url).trials


def check(journal: Journal) -> None:
    for arm in ("supcon", "ce"):
        trials = stored(journal, arm)
        assert [trial.state for trial in trials] == [state for _, state in ENDS]
        assert [trial.value for trial in trials] == [0.3, None, None, None, None]
        assert all(trial.intermediate_values == {1: 0.1, 3: 0.3} for trial in trials)
        assert all(trial.params["data.batch_size"] == 64 for trial in trials)
        assert "optim.momentum" not in trials[0].params
        assert trials[1].user_attrs["outcome"] == "stopped"
        assert trials[1].user_attrs["detail"] == "so it went"
    assert trials[0].datetime_start is not None


def test_what_is_logged_is_in_the_study(study: tuple[Space, Journal]) -> None:
    space, journal = study
    journal.listeners.append(Mirror(space, journal))
    run_trials(journal)
    check(journal)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"no database"),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_missing_or_damaged_study_is_made_anew(
    study: tuple[Space, Journal], spoil: Callable[[Path], object]
) -> None:
    space, journal = study
    journal.listeners.append(Mirror(space, journal))
    run_trials(journal)
    spoil(journal.path.parent / "study.db")
    Mirror(space, journal)
    check(journal)


def test_a_study_that_is_behind_the_log_catches_up_and_a_current_one_is_kept(
    study: tuple[Space, Journal],
) -> None:
    space, journal = study
    Mirror(space, journal)
    run_trials(journal)
    Mirror(space, journal)
    check(journal)
    before = (journal.path.parent / "study.db").stat().st_ino
    Mirror(space, journal)
    assert (journal.path.parent / "study.db").stat().st_ino == before


def test_a_study_that_cannot_be_written_is_said_once_and_stops_nothing(
    study: tuple[Space, Journal], capsys: pytest.CaptureFixture[str]
) -> None:
    space, journal = study
    (journal.path.parent / "study.db").mkdir()
    journal.listeners.append(Mirror(space, journal))
    run_trials(journal)
    (line,) = capsys.readouterr().err.splitlines()
    assert "study.db: is no longer written (" in line
    assert len(journal.of("ce")) == len(ENDS)


def test_a_trial_that_somebody_deleted_stops_nothing(
    study: tuple[Space, Journal], capsys: pytest.CaptureFixture[str]
) -> None:
    space, journal = study
    journal.listeners.append(Mirror(space, journal))
    url = f"sqlite:///{journal.path.parent / 'study.db'}"
    optuna.delete_study(study_name="ce", storage=url)
    run_trials(journal)
    assert "study.db: is no longer written (" in capsys.readouterr().err


def test_a_mirror_can_be_pickled_with_its_journal(study: tuple[Space, Journal]) -> None:
    assert pickle.loads(pickle.dumps(Mirror(*study))).storage is None
