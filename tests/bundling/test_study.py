"""Which model of a study is meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supcon.bundling.study import is_study, winners
from supcon.parsing import UserError


def arm(*val: float, test: float = 0.5, **more: Any) -> dict[str, Any]:
    seeds = [*range(len(val))]
    return {
        "confirm": {
            "seeds": seeds,
            "runs": [f"x-confirm-{i}" for i in seeds],
            "val": {"probe_top1": [*val]},
            "test_probe_top1": [test] * len(val),
        }
        | more
    }


def write(folder: Path, **arms: Any) -> Path:
    folder.mkdir(exist_ok=True)
    summary = {"metric": "val/probe_top1", "verdict": {"text": ""}, "study": "x", "commit": "c"}
    (folder / "summary.json").write_text(json.dumps(summary | {"arms": arms}))
    (folder / "events.jsonl").touch()
    return folder


def test_the_arm_that_is_better_on_val_is_taken_whatever_test_says(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", supcon=arm(0.7, 0.9, 0.7), ce=arm(0.8, 0.8, 0.85, test=0.1))
    assert is_study(folder)
    (found,) = winners(folder, None, "best")
    assert (found.arm, found.run, found.place) == ("ce", "x-confirm-2", 2)
    assert found.file == folder / "trials" / "x-confirm-2" / "model.pt"
    assert found.why == (
        "arm ce (better on val: 0.8167; --arm takes another), run 2 of 3 (best on val; --seed-of "
        "takes another)"
    )
    assert found.confirmed["test_probe_top1"] == [0.1] * 3


def test_an_arm_and_a_run_can_be_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", supcon=arm(0.7, 0.9), ce=arm(0.8))
    assert [w.place for w in winners(folder, "supcon", "best")] == [1]
    assert [w.place for w in winners(folder, "supcon", "0")] == [0]
    assert [w.run for w in winners(folder, "supcon", "all")] == ["x-confirm-0", "x-confirm-1"]


@pytest.mark.parametrize(
    ("name", "seed_of", "said"),
    [
        ("cee", "best", "--arm cee: the study has supcon, ce, given_up"),
        ("given_up", "best", "given_up has no runs on fresh seeds yet; go on with the study"),
        ("supcon", "2", "--seed-of 2: must be best, all, or 0 to 1"),
        ("supcon", "-1", "--seed-of -1: must be best"),
        ("supcon", "first", "--seed-of first: must be best"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, name: str, seed_of: str, said: str) -> None:
    folder = write(tmp_path / "x", supcon=arm(0.7, 0.9), ce=arm(0.8), given_up=arm())
    with pytest.raises(UserError, match=said):
        winners(folder, name, seed_of)


def test_a_study_without_confirmed_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no arm has runs on fresh seeds yet"):
        winners(write(tmp_path / "x", supcon=arm()), None, "best")


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "{"])
def test_a_summary_that_is_missing_or_damaged_says_how_to_write_it_anew(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(UserError, match=r"summary\.json: (is missing|damaged).*search/report\.py"):
        winners(tmp_path, None, "best")


def test_a_summary_of_an_earlier_version_says_how_to_write_it_anew(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", supcon=arm(0.7, runs=[]))
    with pytest.raises(UserError, match=r"earlier version; .*search/report\.py"):
        winners(folder, None, "best")


def test_of_several_arms_the_best_on_val_is_taken(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", supcon=arm(0.7), sincere=arm(0.9, 0.8), ce=arm(0.8, 0.8))
    (won,) = winners(folder, None, "best")
    assert (won.arm, won.place) == ("sincere", 0)
    assert won.why.startswith("arm sincere (best on val: 0.8500; --arm takes another)")
