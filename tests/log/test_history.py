"""What is read off the events of a study."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from pathlib import Path

import pytest

from search.log.events import Outcome, Phase, Searched, Slept
from search.log.trial import Totals, Trial
from tests.written import WrittenStudy

PHASES: tuple[Phase, ...] = ("search", "pick")
OUTCOMES: tuple[Outcome, ...] = ("completed", "completed", "stopped", "diverged")


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(tmp_path)


def test_trials_are_folded_from_their_events(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 3, 0.9)
    study.ask("ce", 1)
    study.report("ce", 0, 9, 0.95)
    study.end("ce", 0, "completed")
    first, second = study.log.of("ce")
    assert (first.name, first.outcome, first.epochs, first.score) == ("ce-0", "completed", 9, 0.95)
    assert first.scores == {3: 0.9, 9: 0.95}
    assert (second.outcome, second.epochs) == (None, 0)
    assert study.log.totals("ce").epochs == 9
    assert study.log.totals("supcon").epochs == 0


def test_the_time_that_a_study_was_down_does_not_count(study: WrittenStudy) -> None:
    for at in (1010, 1400):
        study.now = at - 10
        study.ask("ce", at)
    study.now = 4990
    study.restart()
    study.now = 5290
    study.ask("ce", 0)
    assert study.log.active_seconds == 400 + 300


def test_the_time_that_the_machine_slept_does_not_count(study: WrittenStudy) -> None:
    study.now = 5990
    study.add(Slept, seconds=4500)  # from some time after 1000 s to 6000 s
    study.ask("ce", 0)
    assert study.log.active_seconds == 10 + 500
    study.restart()
    study.now += 280
    study.ask("ce", 1)
    study.add(Slept, seconds=-3600)  # the clock was set back; it had been as late as it was
    assert study.log.active_seconds == 510 + 300 + 3600


def test_what_runs_after_the_search_in_an_older_log_says_that_it_is_over(
    study: WrittenStudy,
) -> None:
    study.ask("ce", 0, "published")  # trained before the search, for the noise floor
    assert not study.log.is_searched
    study.ask("ce", 0, "pick", of=0)
    assert study.log.is_searched


def test_a_search_that_is_over_goes_on_when_its_budget_changes(study: WrittenStudy) -> None:
    study.add(Searched)
    study.restart(resources={"concurrency": 2})
    assert study.log.is_searched
    study.restart(budget={"trials": 99})
    assert not study.log.is_searched


# Against slow loops


def random_study(path: Path, seed: int) -> WrittenStudy:
    """Trials of two phases begin, report and end in any order; some share their params."""
    study, rng = WrittenStudy(path), random.Random(seed)
    for _ in range(200):
        running = study.log.unfinished()
        if not running or rng.random() < 0.2:
            arm, phase = rng.choice(study.arms), rng.choice(("search", *PHASES))
            others = study.log.of(arm, phase)
            like = rng.choice(others).ask if others and rng.random() < 0.3 else None
            of = None if like is None else like.number if like.of is None else like.of
            study.ask(arm, len(others), phase, of)
            continue
        trial = rng.choice(running)
        arm, phase, number = trial.ask.key
        if trial.reports and rng.random() < 0.6:
            study.end(arm, number, rng.choice(OUTCOMES), phase)
        else:  # many ties
            study.report(arm, number, trial.epochs + 1, round(rng.random(), 1), phase)
    return study


def slow_totals(trials: list[Trial]) -> Totals:
    last = [trial.reports[-1] for trial in trials if trial.reports]
    return Totals(
        trials=len(trials),
        endings=dict(Counter(trial.ending for trial in trials)),
        epochs=sum(trial.epochs for trial in trials),
        reported_epochs=sum(report.epoch for report in last),
        views=sum(report.views for report in last),
        seconds=sum(report.seconds for report in last),
        checkpoint_seconds=sum(report.checkpoint_seconds for report in last),
    )


def slow_ranks(trials: list[Trial]) -> list[int]:
    """For each params the number of the first trial that was completed, the best mean first."""
    found = []
    for first in (trial.ask.number for trial in trials if trial.ask.of is None):
        seeds = [t for t in trials if t.is_completed and first in (t.ask.number, t.ask.of)]
        if seeds:
            found.append((-statistics.mean(t.score for t in seeds), first, seeds[0].ask.number))
    return [number for _, _, number in sorted(found)]


@pytest.mark.parametrize("seed", range(5))
def test_totals_and_ranks_are_those_of_a_loop_over_all_trials(tmp_path: Path, seed: int) -> None:
    study = random_study(tmp_path, seed)
    for arm in study.arms:
        for phase in PHASES:
            own = [t for t in study.log.trials.values() if t.ask.key[:2] == (arm, phase)]
            assert study.log.totals(arm, phase) == slow_totals(own)
        ranks = slow_ranks(list(study.log.of(arm)))
        assert [trial.ask.number for trial in study.log.top(arm, 99)] == ranks
        assert len(ranks) > 1


# Remembering
