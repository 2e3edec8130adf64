"""Where a search stands, told from logs written by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from search.log.events import Retry
from search.monitor.standing import Running, Standing, standing
from tests.written import TREE, WrittenStudy

ONE = {"budget": {"trials": 1}, "confirm": TREE["confirm"] | {"top": 1}}


def seen(study: WrittenStudy, later: float = 0) -> Standing:
    """Where it stands, so long after its last event."""
    return standing(study, study.now + later)


def only(study: WrittenStudy, later: float = 0) -> Running:
    """The only trial that runs."""
    (running,) = seen(study, later).running
    return running


def confirmed(study: WrittenStudy) -> None:
    """Both arms searched, one trial each, and their winners trained again."""
    for arm in ("supcon", "ce"):
        study.trial(arm, 0, 0.8)
    for arm in ("supcon", "ce"):
        for number in range(3):
            study.trial(arm, number, 0.7, "confirm", of=0)


def test_a_search_that_has_just_begun_has_nothing(study: WrittenStudy) -> None:
    now = seen(study, later=5)
    assert (now.stage, now.running, now.openings, now.left) == ("search", (), (), None)
    assert now.elapsed == 5
    for arm in now.arms:
        assert (arm.started, arm.epochs, arm.outcomes, arm.best) == (0, 0, {}, None)
        assert (arm.most_trials, arm.most_epochs, arm.is_open) == (8, 36, True)


def test_trials_outcomes_and_epochs_are_counted_by_arm(study: WrittenStudy) -> None:
    study.trial("ce", 0, 0.8)
    study.ask("ce", 1)
    study.report("ce", 1, 1, 0.3)
    study.end("ce", 1, "stopped")
    study.ask("ce", 2)
    study.end("ce", 2, "diverged")
    study.ask("ce", 3)
    study.report("ce", 3, 3, 0.5)
    supcon, ce = seen(study).arms
    assert (supcon.name, supcon.started) == ("supcon", 0)
    assert (ce.started, ce.running) == (4, 1)
    assert ce.outcomes == {"completed": 1, "diverged": 1, "stopped": 1}
    assert ce.epochs == 9 + 1 + 1 + 3  # one that has ended has cost at least one


def test_the_best_is_one_of_full_length(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 3, 0.9)
    assert seen(study).arms[1].best is None
    study.trial("ce", 1, 0.7)
    best = seen(study).arms[1].best
    assert best is not None
    assert (best.name, best.score, best.is_winner) == ("ce-1", 0.7, False)
    assert best.params == {"optim.lr_per_256": 0.11}


def test_a_running_trial_tells_its_scores_rungs_speed_and_memory(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    assert only(study, later=3) == Running(
        name="ce-0", params={"optim.lr_per_256": 0.1}, epoch=0, epochs=9, scores=(),
        has_collapsed=False, rungs=(0, 2), views_per_second=None, memory=None, silent=3,
        patience=None,
        is_retry=False,
    )  # fmt: skip
    study.report("ce", 0, 1, 0.5)
    study.report("ce", 0, 3, 0.6, memory=2_000_000_000)
    running = only(study, later=4)
    assert (running.epoch, running.scores, running.rungs) == (3, (0.5, 0.6), (2, 2))
    assert (running.views_per_second, running.memory, running.silent) == (200, 2e9, 4)


def test_a_trial_whose_features_are_equal_has_collapsed(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    for epoch, collapsed in ((1, 1.0), (3, 0.0)):
        metrics = {"val/probe_top1": 0.1, "val/collapsed": collapsed}
        study.report("ce", 0, epoch, 0.1, metrics=metrics)
        assert only(study).has_collapsed == bool(collapsed)


def test_an_arm_that_gave_up_says_over_what_and_plans_nothing_more(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"trials": 99, "give_up": 2})
    study.trial("supcon", 0, 0.8)
    planned = [step.planned for step in seen(study).steps]
    for number in range(2):
        study.ask("ce", number)
        study.end("ce", number, "diverged")
    supcon, ce = seen(study).arms
    assert (supcon.gave_up, supcon.is_open) == ("", True)
    assert (ce.gave_up, ce.is_open) == ("2 diverged", False)
    assert [2 * step.planned for step in seen(study).steps] == planned


def test_runs_that_nothing_stops_have_no_rungs(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, **ONE)
    study.trial("supcon", 0, 0.8)
    study.trial("ce", 0, 0.8)
    study.ask("ce", 0, "confirm", of=0)
    assert only(study).rungs is None


def test_a_trial_without_memory_says_that_it_is_tried_again(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.add(Retry, arm="ce", phase="search", number=0, detail="out of memory")
    assert only(study).is_retry


def test_a_trial_that_is_silent_for_far_longer_than_its_pace_is_late(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 3, 0.5, evaluation_seconds=7)  # 3 s to epoch 9, and 7 s of evaluation
    assert not only(study, later=49).is_late
    assert only(study, later=51).is_late


def test_a_trial_without_a_report_is_late_by_what_others_took(study: WrittenStudy) -> None:
    study.trial("supcon", 0, 0.8)  # its first report came after 10 s
    study.ask("ce", 0)
    assert not only(study, later=49).is_late
    assert only(study, later=51).is_late


def test_no_trial_is_late_before_anything_is_known_of_a_pace(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    assert not only(study, later=1e6).is_late


def test_a_short_silence_is_never_late(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 1, 0.5)  # a second to the next
    assert not only(study, later=29).is_late


def test_the_time_that_a_study_was_down_makes_no_trial_late(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 1, 0.5)
    study.now += 100_000
    study.restart()
    assert only(study, later=20).silent == 20
    assert seen(study, later=20).elapsed == 20 + 20


def test_what_is_left_is_told_by_the_epochs_that_are_left_and_the_pace(study: WrittenStudy) -> None:
    study.trial("ce", 0, 0.8)
    study.trial("supcon", 0, 0.8)
    assert seen(study).left is None  # two trials tell no pace
    study.trial("ce", 1, 0.8)
    # 27 epochs in 90 s; (36 - 18) + (36 - 9) of the search, and 2 x 2 + 2 x 3 runs of 9.
    assert seen(study).left == pytest.approx(90 / 27 * (45 + 90))


def test_a_cap_of_trials_ends_the_search_before_its_epochs(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"trials": 2})
    study.trial("ce", 0, 0.8)
    study.trial("supcon", 0, 0.8)
    study.ask("ce", 1)
    study.report("ce", 1, 1, 0.1)
    study.end("ce", 1, "stopped")
    # ce is through; supcon has another trial of 9 epochs.
    assert seen(study).left == pytest.approx(90 / 19 * (9 + 90))


def test_a_cold_start_tells_nothing_of_the_pace(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    for number in range(3):
        study.ask("ce", number)
        study.report("ce", number, 9, 0.8, first_step=1050.0)
        study.end("ce", number, "completed")
    assert seen(study).left == pytest.approx((90 - 50) / 27 * (9 + 36 + 90))


def test_no_more_is_left_than_the_limit_allows(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"time": 100, "trials": 8})
    assert seen(study, later=30).left == 70
    for number in range(3):
        study.trial("ce", number, 0.8)
    assert seen(study, later=4).left == 100 - 94


def test_runs_after_the_search_are_counted_against_what_is_planned(tmp_path: Path) -> None:
    study = WrittenStudy(
        tmp_path, budget={"trials": 2}, confirm=TREE["confirm"] | {"references": True}
    )
    assert [(s.what, s.ended, s.planned) for s in seen(study).steps] == [
        ("pick", 0, 4), ("confirm", 0, 6), ("references", 0, 9),
    ]  # fmt: skip
    for arm in ("supcon", "ce"):
        for number in range(2):
            study.trial(arm, number, 0.8 - number / 10)
    assert seen(study).stage == "confirmation"
    for arm in ("supcon", "ce"):
        study.trial(arm, 0, 0.6, "pick", of=0)
        study.trial(arm, 1, 0.7, "pick", of=1)
    now = seen(study)
    assert [step.ended for step in now.steps] == [4, 0, 0]
    best = now.arms[0].best
    assert best is not None
    assert (best.name, best.score, best.is_winner) == ("supcon-1", 0.8 - 1 / 10, True)


def test_the_published_settings_before_the_search_are_the_noise_floor(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, confirm=TREE["confirm"] | {"references": True})
    study.ask("ce", 0, "published")
    assert seen(study).stage == "noise floor"
    study.report("ce", 0, 9, 0.5, "published")
    study.end("ce", 0, "completed", "published")
    assert seen(study).steps[-1].ended == 1
    study.ask("ce", 0)
    assert seen(study).stage == "search"


def test_a_study_is_done_when_all_of_its_runs_are_tested(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, **ONE)
    study.trial("supcon", 0, 0.8)
    assert seen(study).stage == "search"
    study.trial("ce", 0, 0.8)
    assert seen(study).stage == "confirmation"
    for arm in ("supcon", "ce"):
        for number in range(3):
            study.trial(arm, number, 0.7, "confirm", of=0)
    assert seen(study).stage == "test"
    study.test("supcon", [0, 1, 2], 3)
    study.test("ce", [0, 1, 2], 2)
    assert (seen(study).stage, seen(study).n_tested) == ("test", 5)
    study.test("ce", [2], 1)
    now = seen(study)
    assert (now.stage, now.left) == ("done", 0)
    assert now.openings == ("supcon confirm", "ce confirm", "ce confirm")


def test_a_larger_budget_opens_the_search_again(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, **ONE)
    confirmed(study)
    study.restart(budget={"trials": 2})
    assert seen(study).stage == "search"
    assert all(arm.is_open for arm in seen(study).arms)


def test_a_search_whose_time_is_up_has_only_its_test_left(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, budget={"time": 100})
    study.trial("ce", 0, 0.8)
    assert seen(study, later=20).stage == "search"
    assert seen(study, later=80).stage == "done"  # nothing was confirmed, so nothing is tested


def test_a_search_in_which_everything_fails_is_done_without_a_best(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    for arm in ("supcon", "ce"):
        for number in range(8):
            study.ask(arm, number)
            study.end(arm, number, "failed")
    now = seen(study)
    assert now.stage == "done"
    assert [(arm.best, arm.is_open) for arm in now.arms] == [(None, False)] * 2


def test_scores_that_are_no_number_do_no_harm(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 1, 0.5)
    trial = study.log.trials["ce", "search", 0]
    trial.reports[0] = trial.reports[0].model_copy(
        update={"metrics": {"val/probe_top1": math.nan}}  # a log refuses to read such a line
    )
    assert math.isnan(only(study).scores[0])
    study.end("ce", 0, "diverged")
    assert seen(study).arms[1].best is None
