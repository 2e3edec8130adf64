"""What is said of an arm that gave up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.log.events import Outcome
from search.strategy.giving_up import gave_up_over
from search.strategy.in_vain import describe_chance, describe_giving_up, summary_of
from tests.written import WrittenStudy

EVEN = (36,) * 10
PARAMS = {
    "loss.temperature": {"loguniform": [0.05, 0.5]},
    "optim.momentum": {"uniform": [0.5, 0.99]},
}


def begun(path: Path, **changes: Any) -> WrittenStudy:
    usual = {"params": PARAMS, "budget": {"trials": 99, "give_up": 3}}
    usual |= {"base": {"run": {"epochs": 9}, "optim": {"lr_per_256": 1000.0, "warmup": 0.0}}}
    return WrittenStudy(path, val_counts=EVEN, **usual | changes)


def end(study: WrittenStudy, outcome: Outcome, detail: str = "", score: float = 0.0) -> None:
    number = len(study.log.of("supcon"))
    drawn = {"loss.temperature": 0.1 + number / 10, "optim.momentum": 0.9}
    study.ask("supcon", number, params=drawn)
    if score:
        study.report("supcon", number, 9, score)
    study.end("supcon", number, outcome, detail=detail)


def test_nothing_is_said_of_an_arm_that_goes_on(tmp_path: Path) -> None:
    study = begun(tmp_path)
    end(study, "diverged")
    assert describe_giving_up(study, "supcon") == ""
    assert summary_of(gave_up_over(study, "supcon")) == ""


def test_the_commonest_reason_what_was_shared_and_the_way_out_are_named(tmp_path: Path) -> None:
    study = begun(tmp_path)
    for step in (1, 7, 12):
        end(study, "diverged", f"non-finite loss in epoch 1, step {step}")
    assert describe_giving_up(study, "supcon") == (
        "after 3 trials: 3 of 3 ended diverged (non-finite loss in epoch 1, step 1); in common: "
        "optim.lr_per_256=1000, optim.warmup=0, optim.name=sgd, optim.clip_norm=None, "
        "loss.temperature from 0.1 to 0.3, run.precision=auto, optim.momentum=0.9; a smaller "
        "optim.lr_per_256, a longer optim.warmup, or optim.clip_norm, in another study; or go on "
        "with --extend --set budget.give_up=6"
    )


def test_details_that_differ_in_numbers_only_are_of_a_kind(tmp_path: Path) -> None:
    study = begun(tmp_path)
    end(study, "diverged", "non-finite features after epoch 2")
    end(study, "diverged", "non-finite loss in epoch 1, step 3")
    end(study, "diverged", "non-finite loss in epoch 4, step 17")
    said = describe_giving_up(study, "supcon")
    assert "3 of 3 ended diverged (2 of them: non-finite loss in epoch 1, step 3)" in said


def test_the_commonest_end_is_told_and_the_others_in_a_few_words(tmp_path: Path) -> None:
    study = begun(tmp_path)
    end(study, "infeasible", "out of memory")
    end(study, "infeasible", "out of memory")
    end(study, "diverged")
    said = describe_giving_up(study, "supcon")
    assert said.startswith("after 3 trials: 2 of 3 ended infeasible (out of memory); in common: mo")
    assert "data.batch_size=" in said
    assert "--gpus-per-trial" in said
    assert summary_of(gave_up_over(study, "supcon")) == "2 infeasible, 1 diverged"


def test_what_failed_may_be_put_right(tmp_path: Path) -> None:
    study = begun(tmp_path)
    for _ in range(3):
        end(study, "failed", "OSError: no space left")
    said = describe_giving_up(study, "supcon")
    assert said.endswith(
        "put right what trials/supcon-2/error.txt or the detail says, and go on with --resume"
    )


def test_trials_that_are_no_better_than_a_guess_say_what_a_guess_is(tmp_path: Path) -> None:
    study = begun(tmp_path)
    for _ in range(3):
        end(study, "completed", score=0.1)
    said = describe_giving_up(study, "supcon")
    why = "3 of 3 never scored above chance (10.0% of val is one class, and luck may reach 15.6%)"
    assert said.startswith(f"after 3 trials: {why}; in common: optim.lr_per_256=1000")
    assert "look whether images and labels are what they should be" in said


def test_an_older_log_does_not_tell_what_luck_may_reach(tmp_path: Path) -> None:
    assert describe_chance(WrittenStudy(tmp_path, val_counts=(3, 3))) == "50.0% of val is one class"


@pytest.mark.parametrize("is_searched", [False, True])
def test_an_arm_that_broke_after_good_trials_is_not_sent_to_another_study(
    tmp_path: Path, is_searched: bool
) -> None:
    study = begun(tmp_path)
    end(study, "completed", score=0.9)
    for _ in range(3):
        end(study, "failed")
    if is_searched:
        study.trial("supcon", 0, 0.9, "confirm", of=0)
    said = describe_giving_up(study, "supcon")
    assert "another study" not in said
    assert ("--resume" in said) != is_searched
