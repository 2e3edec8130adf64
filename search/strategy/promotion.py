"""Which paused trial goes on: ASHA by promotion (arXiv:1810.05934, algorithm 2), read off the log.

A trial that is stopped at a rung is lost; a paused one goes on as soon as it is among the best
there, be it that those after it are no better. So many configurations are seen before the first is
trained to the end. None needs to be: the best are trained again after the search, on fresh seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.log.events import Promoted, Reason
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.budget import may_train, pauses
from supcon.seeds import derive_seed

CHECKPOINTS = 3
"""Of the trials that wait at a rung the best so many keep theirs: few of the others ever go on, and
those start anew, and score the same."""


def next_promoted(study: Study, arm: str) -> Promoted | None:
    """The paused trial of an arm that goes on now, if one does."""
    found = who_goes_on(study, arm)
    return None if found is None else promoted(*found)


def promoted(trial: Trial, why: Reason) -> Promoted:
    """That a trial goes on."""
    return Promoted(arm=trial.ask.arm, phase="search", number=trial.ask.number, why=why)


@remembered
def who_goes_on(study: Study, arm: str) -> tuple[Trial, Reason] | None:
    """The paused trial of an arm that goes on now, and why; None: none does."""
    if not pauses(study.space) or not may_train(study, arm):
        return None
    if (trial := _sentinel(study, arm)) is not None:
        return trial, "sentinel"
    trial = best_of_rungs(study, arm, study.space.rungs[:-1])
    return None if trial is None else (trial, "rung")


def best_of_rungs(study: Study, arm: str, rungs: Sequence[int]) -> Trial | None:
    """Of the highest rung at which one of the best waits."""
    asha = study.space.scheduler.asha
    assert asha is not None
    for epoch in reversed(rungs):
        here = best_first(study, arm, epoch)
        for trial in here[: len(here) // asha.reduction]:
            if trial.is_paused and trial.epochs == epoch:
                return trial
    return None


def without_checkpoint(study: Study, paused: Trial) -> list[Trial]:
    """Who gives a checkpoint up now that this one waits too: itself, or whom it displaces."""
    at_rung = best_first(study, paused.ask.arm, paused.epochs)
    waiting = [trial for trial in at_rung if trial.is_paused and trial.epochs == paused.epochs]
    return [t for t in waiting[CHECKPOINTS:] if t is paused or t is waiting[CHECKPOINTS]]


@remembered
def best_first(study: Study, arm: str, epoch: int) -> list[Trial]:
    """Trials that have reached a rung; of equal ones the earlier is better."""
    metric = study.space.selection_metric
    found = [
        (-report.metrics[metric], trial.ask.number, trial)
        for trial in study.log.of(arm)
        for report in trial.reports
        if report.epoch == epoch
    ]
    return [trial for *_, trial in sorted(found, key=lambda each: each[:2])]


def _sentinel(study: Study, arm: str) -> Trial | None:
    """Any that waits, once a share of what was spent may go into telling whether rungs can be
    trusted.
    """
    asha, paused = study.space.scheduler.asha, study.log.paused(arm)
    assert asha is not None
    whole_trials = study.log.totals(arm).epochs / study.space.rungs[-1]
    n_had = sum(trial.promoted == "sentinel" for trial in study.log.of(arm))
    if not paused or n_had >= math.floor(asha.sentinels * whole_trials + 1e-9):
        return None
    return paused[derive_seed(study.space.seed, arm, "sentinel", n_had) % len(paused)]
