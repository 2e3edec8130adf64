"""Which paused trial goes on: ASHA by promotion (arXiv:1810.05934, algorithm 2), read off the log.

A trial that is stopped at a rung is lost; a paused one goes on as soon as it is among the best
there, be it that those after it are no better. So many configurations are seen before the first is
trained to the end, and the last part of a budget trains the best of them.
"""

from __future__ import annotations

import math

from search.log.events import Promoted, Reason
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.budget import epochs_left, is_last_part, may_start, pauses
from search.strategy.giving_up import gave_up_over
from supcon.seeds import derive_seed


def next_promoted(study: Study, arm: str) -> Promoted | None:
    """The paused trial of an arm that goes on now, if one does."""
    if not pauses(study.space) or gave_up_over(study, arm) or epochs_left(study, arm) <= 0:
        return None
    if is_last_part(study, arm):
        return _to_the_end(study, arm)
    return _sentinel(study, arm) or _of_a_rung(study, arm) or _last_of_all(study, arm)


def _of_a_rung(study: Study, arm: str) -> Promoted | None:
    """Of the highest rung at which one of the best waits."""
    asha = study.space.scheduler.asha
    assert asha is not None
    for epoch in reversed(study.space.rungs[:-1]):
        here = _best_first(study, arm, epoch)
        for trial in here[: len(here) // asha.reduction]:
            if trial.is_paused and trial.epochs == epoch:
                return _promoted(trial, "rung")
    return None


def _sentinel(study: Study, arm: str) -> Promoted | None:
    """Any that waits, once a share of what was spent may go into telling whether rungs can be
    trusted.
    """
    asha, paused = study.space.scheduler.asha, _paused(study, arm)
    assert asha is not None
    whole_trials = study.log.totals(arm).epochs / study.space.rungs[-1]
    n_had = sum(trial.promoted == "sentinel" for trial in study.log.of(arm))
    if not paused or n_had >= math.floor(asha.sentinels * whole_trials + 1e-9):
        return None
    drawn = derive_seed(study.space.seed, arm, "sentinel", n_had)
    return _promoted(paused[drawn % len(paused)], "sentinel")


def _last_of_all(study: Study, arm: str) -> Promoted | None:
    """When all trials that an arm may have were started: the best, until there are enough to
    choose from.
    """
    running = [trial for trial in study.log.unfinished("search") if trial.ask.arm == arm]
    n_done = len(study.log.top(arm, study.space.confirm.top))
    if may_start(study, arm) or running or n_done >= study.space.confirm.top:
        return None
    return _to_the_end(study, arm)


def _to_the_end(study: Study, arm: str) -> Promoted | None:
    """The one that has come farthest, and scores best there."""
    best = max(_paused(study, arm), key=lambda t: (t.epochs, t.score), default=None)
    return None if best is None else _promoted(best, "end")


def _promoted(trial: Trial, why: Reason) -> Promoted:
    return Promoted(arm=trial.ask.arm, phase="search", number=trial.ask.number, why=why)


def _paused(study: Study, arm: str) -> list[Trial]:
    own = [trial for trial in study.log.paused() if trial.ask.arm == arm]
    return sorted(own, key=lambda trial: trial.ask.number)


@remembered
def _best_first(study: Study, arm: str, epoch: int) -> list[Trial]:
    """Trials that have reached a rung; of equal ones the earlier is better."""
    metric = study.space.selection_metric
    found = [
        (-report.metrics[metric], trial.ask.number, trial)
        for trial in study.log.of(arm)
        for report in trial.reports
        if report.epoch == epoch and math.isfinite(report.metrics[metric])
    ]
    return [trial for *_, trial in sorted(found, key=lambda each: each[:2])]
