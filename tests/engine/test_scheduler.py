"""ASHA's decision, and that rungs are read off the log."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.engine.scheduler import LoggedAsha
from search.log.events import Ask, Opened
from search.log.journal import Journal
from search.space.loading import parse_space
from search.space.space import Asha
from search.strategy.early_stopping import passes


@pytest.mark.parametrize(
    ("value", "others", "expected"),
    [
        (0.5, [], True),  # the first at a rung always passes
        (0.5, [0.6], False),  # of two, the best one
        (0.7, [0.6], True),
        (0.5, [0.6, 0.7, 0.1, 0.1, 0.1], False),  # of six, the best two
        (0.65, [0.6, 0.7, 0.1, 0.1, 0.1], True),
        (0.6, [0.6], True),  # a tie with the best passes
        (float("nan"), [], False),  # what is not finite never passes
        (float("inf"), [], False),
    ],
)
def test_a_trial_passes_a_rung_if_it_is_among_the_best_third(
    value: float, others: list[float], expected: bool
) -> None:
    assert passes(value, others, reduction=3) is expected


def study(path: Path, sentinels: float = 0) -> LoggedAsha:
    tree = {
        "name": "x", "base": {"run": {"epochs": 9}}, "budget": {"trials": 9},
        "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
        "scheduler": {"asha": {"grace": 3, "reduction": 3, "sentinels": sentinels}},
    }  # fmt: skip
    opened = Opened(study="x", space=tree, commit="", versions={})
    journal = Journal.create(path / "s" / "events.jsonl", opened)
    for arm in ("supcon", "ce"):
        for number in range(3):
            journal.append(Ask(arm=arm, phase="search", number=number, params={}, seed=0))
    return LoggedAsha(parse_space(tree, "x"), journal)


def test_without_a_scheduler_no_trial_is_stopped(tmp_path: Path) -> None:
    asha = study(tmp_path)
    asha.space = parse_space(asha.space.dump() | {"scheduler": "none"}, "x")
    for number, score in ((0, 0.9), (1, 0.1), (2, 0.0)):
        assert asha.on_trial_result(None, trial(number), result(3, score)) == "CONTINUE"


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
        "memory": None,
    } | more


def test_trials_are_compared_within_their_arm(tmp_path: Path) -> None:
    asha = study(tmp_path)
    assert asha.on_trial_result(None, trial(0), result(3, 0.9)) == "CONTINUE"
    assert asha.on_trial_result(None, trial(1), result(3, 0.8)) == "STOP"
    assert asha.on_trial_result(None, trial(0, "supcon"), result(3, 0.5)) == "CONTINUE"
    assert asha.journal.trials["ce", "search", 1].outcome == "stopped"


def test_rungs_survive_a_restart(tmp_path: Path) -> None:
    asha = study(tmp_path)
    asha.on_trial_result(None, trial(0), result(3, 0.9))
    restarted = LoggedAsha(asha.space, Journal.open(asha.journal.path))
    assert restarted.on_trial_result(None, trial(1), result(3, 0.8)) == "STOP"


def test_a_record_that_a_resumed_trial_repeats_is_decided_on_once(tmp_path: Path) -> None:
    asha = study(tmp_path)
    asha.on_trial_result(None, trial(0), result(3, 0.8))
    asha.on_trial_result(None, trial(1), result(3, 0.9))
    n_events = len(asha.journal.events)
    assert asha.on_trial_result(None, trial(0), result(3, 0.8)) == "CONTINUE"
    assert len(asha.journal.events) == n_events


def test_a_trial_killed_between_its_decision_and_its_end_is_ended(tmp_path: Path) -> None:
    asha = study(tmp_path)
    asha.on_trial_result(None, trial(0), result(3, 0.9))
    asha.on_trial_result(None, trial(1), result(3, 0.8))
    lines = asha.journal.path.read_text().splitlines(keepends=True)
    asha.journal.path.write_text("".join(lines[:-1]))  # without trial 1's end
    restarted = LoggedAsha(asha.space, Journal.open(asha.journal.path))
    assert restarted.on_trial_result(None, trial(1), result(3, 0.8)) == "STOP"
    assert restarted.journal.trials["ce", "search", 1].outcome == "stopped"
    assert restarted.journal.trials["ce", "search", 1].epochs == 3


@pytest.mark.parametrize("outcome", ["completed", "diverged", "infeasible", "failed"])
def test_every_way_to_be_done_is_one_outcome(tmp_path: Path, outcome: str) -> None:
    asha = study(tmp_path)
    for _ in range(2 if outcome == "infeasible" else 1):  # that one gets a second chance
        assert asha.journal.trials["ce", "search", 0].outcome is None
        asha.on_trial_complete(None, trial(0), result(9, 0.9, outcome=outcome, detail="why"))
    ended = asha.journal.trials["ce", "search", 0]
    assert ended.outcome == outcome
    assert ended.epochs == 9
    assert len(ended.reports) == (outcome == "completed")
    assert ended.end is not None
    assert ended.end.detail == "why"


def test_sentinels_train_to_the_end_whatever_the_rungs_say(tmp_path: Path) -> None:
    asha = study(tmp_path, sentinels=0.1)
    assert asha.on_trial_result(None, trial(0), result(3, 0.9)) == "CONTINUE"
    assert asha.on_trial_result(None, trial(1), result(3, 0.1)) == "CONTINUE"
    assert asha.on_trial_result(None, trial(2), result(3, 0.8)) == "STOP"


@pytest.mark.parametrize(
    ("share", "trials", "expected"),
    [
        (0.1, 5, 2),
        (0.1, 20, 2),
        (0.1, 30, 3),
        (0.1, 100, 10),
        (0.3, 10, 3),
        (0.5, 9, 4),
        (0, 50, 0),
    ],
)
def test_sentinels_are_the_share_asked_for_and_at_least_two(
    share: float, trials: int, expected: int
) -> None:
    asha = Asha(sentinels=share)
    assert sum(asha.is_sentinel(number) for number in range(trials)) == expected


def test_what_ended_a_trials_process_is_kept_for_its_last_line(tmp_path: Path) -> None:
    asha = study(tmp_path)
    (tmp_path / "error.txt").write_text("Traceback:\n  File ...\nOSError: no such folder: /x\n\n")
    died = trial(1)
    died.error_file = str(tmp_path / "error.txt")
    asha.on_trial_error(None, died)
    assert asha.errors == {("ce", "search", 1): "OSError: no such folder: /x"}
