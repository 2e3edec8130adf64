"""study.db says what the log says, and a search does not care whether it can be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search.log.events import Outcome
from search.log.study import Study
from search.monitor.optuna_mirror import Mirror
from tests.written import WrittenStudy

DRAWN: dict[str, Any] = {
    "optim.lr_per_256": {"loguniform": [0.01, 1]},
    "data.batch_size": {"pow2": [16, 256]},
    "model.head": {"choice": ["mlp", "linear"]},
    "optim.name": {"choice": ["sgd", "adamw"]},
    "optim.momentum": {"uniform": [0, 0.9], "step": 0.1, "when": {"optim.name": "sgd"}},
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
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(tmp_path, params=DRAWN)


def run_trials(study: WrittenStudy) -> None:
    """A trial of either arm for each way to end, and one of the confirmation."""
    for number, (outcome, _) in enumerate(ENDS):
        for arm in ("supcon", "ce"):
            params = PARAMS | ({"model.head": "mlp"} if arm == "supcon" else {})
            study.ask(arm, number, params=params)
            for epoch in (1, 3):
                study.report(arm, number, epoch, epoch / 10)
            if outcome is not None:
                study.end(arm, number, outcome, detail="so it went")
    study.ask("ce", 0, "confirm", params=PARAMS)


def stored(study: Study, arm: str) -> list[FrozenTrial]:
    url = f"sqlite:///{study.folder.database}"
    return optuna.load_study(study_name=arm, storage=url).trials


def check(study: WrittenStudy) -> None:
    for arm in ("supcon", "ce"):
        trials = stored(study, arm)
        assert [trial.state for trial in trials] == [state for _, state in ENDS]
        assert [trial.value for trial in trials] == [0.3, None, None, None, None]
        assert all(trial.intermediate_values == {1: 0.1, 3: 0.3} for trial in trials)
        assert all(trial.params["data.batch_size"] == 64 for trial in trials)
        assert "optim.momentum" not in trials[0].params
        assert trials[1].user_attrs["outcome"] == "stopped"
        assert trials[1].user_attrs["detail"] == "so it went"
    assert trials[0].datetime_start is not None


def test_what_is_logged_is_in_the_study(study: WrittenStudy) -> None:
    study.log.listeners.append(Mirror(study))
    run_trials(study)
    check(study)


@pytest.mark.slow
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
    study: WrittenStudy, spoil: Callable[[Path], object]
) -> None:
    study.log.listeners.append(Mirror(study))
    run_trials(study)
    spoil(study.folder.database)
    Mirror(study)
    check(study)


def test_a_study_that_is_behind_the_log_catches_up_and_a_current_one_is_kept(
    study: WrittenStudy,
) -> None:
    Mirror(study)
    run_trials(study)
    Mirror(study)
    check(study)
    before = study.folder.database.stat().st_ino
    Mirror(study)
    assert study.folder.database.stat().st_ino == before


def test_a_damaged_study_is_set_aside_and_said_in_a_line(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study.folder.database.write_bytes(b"no database")
    journal = study.folder.database.with_name("study.db-journal")
    journal.write_bytes(b"SQLite would play this back into the new file")
    study.log.listeners.append(Mirror(study))
    run_trials(study)
    check(study)
    assert study.folder.database.with_name("study.db.damaged").read_bytes() == b"no database"
    assert not journal.exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"{study.folder.database}: was made anew (file is not a database; what it was is "
        f"study.db.damaged)"
    )


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def remove(path: Path) -> None:
    path.unlink()


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def change_a_score(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE trial_intermediate_values SET intermediate_value = 0.9")
        database.execute("DELETE FROM trials WHERE number = 1")


def delete_an_arm(path: Path) -> None:
    optuna.delete_study(study_name="ce", storage=f"sqlite:///{path}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil", [overwrite, remove, replace_by_folder, change_a_score, delete_an_arm]
)
def test_what_happens_to_a_study_during_the_search_is_made_good(
    study: WrittenStudy, spoil: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    study.log.listeners.append(Mirror(study))
    for arm in ("supcon", "ce"):
        for number in (0, 1):
            study.ask(arm, number, params=PARAMS)
            study.report(arm, number, 1, 0.1)
    spoil(study.folder.database)
    for arm in ("supcon", "ce"):
        study.report(arm, 1, 3, 0.3)
        study.end(arm, 1, "completed")
        trials = stored(study, arm)
        assert [trial.state for trial in trials] == [TrialState.RUNNING, TrialState.COMPLETE]
        assert [t.intermediate_values for t in trials] == [{1: 0.1}, {1: 0.1, 3: 0.3}]
    assert len(capsys.readouterr().err.splitlines()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("is_there", [True, False])
def test_a_locked_study_is_said_once_and_catches_up_when_the_lock_is_gone(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    is_there: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("search.monitor.optuna_mirror.LOCK_SECONDS", 0.05)
    now = [100.0]
    monkeypatch.setattr("search.monitor.optuna_mirror.time.monotonic", lambda: now[0])
    if is_there:
        study.log.listeners.append(Mirror(study))
    with closing(sqlite3.connect(study.folder.database)) as dashboard:
        dashboard.execute("BEGIN EXCLUSIVE")
        if not is_there:
            study.log.listeners.append(Mirror(study))
        run_trials(study)
        now[0] += 11
        study.ask("ce", 1, "confirm", params=PARAMS)  # tries again, in vain
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"{study.folder.database}: is behind the search (database is locked)"
        dashboard.rollback()
    study.ask("ce", 2, "confirm", params=PARAMS)  # too early to try again
    assert capsys.readouterr().err == ""
    now[0] += 11
    study.ask("ce", 3, "confirm", params=PARAMS)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{study.folder.database}: is up to date again"
    check(study)


def test_a_study_that_cannot_be_written_is_said_once_and_stops_nothing(
    study: WrittenStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = study.folder.database.with_name("study.db.damaged")
    (aside / "x").mkdir(parents=True)
    study.folder.database.mkdir()  # cannot be set aside
    study.log.listeners.append(Mirror(study))
    run_trials(study)
    (line,) = capsys.readouterr().err.splitlines()
    assert "study.db: is behind the search (" in line
    assert len(study.log.of("ce")) == len(ENDS)
    study.folder.database.rmdir()
    monkeypatch.setattr("search.monitor.optuna_mirror.RETRY_SECONDS", -1)
    study.ask("ce", 1, "confirm", params=PARAMS)
    check(study)
