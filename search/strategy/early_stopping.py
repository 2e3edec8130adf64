"""ASHA (Li et al. 2020, arXiv:1810.05934) with rungs read off the log: stopped there, or paused.

Trials are compared within their arm at the same epoch, by the selection metric. Who goes on after
a pause: promotion.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.log.events import Decision, TrialId
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.budget import may_train, pauses


def passes(value: float, others: Sequence[float], reduction: int) -> bool:
    """Whether a value at a rung is among the best 1/reduction of all values there.

    Args:
        value: the trial's score, to be maximised.
        others: scores of the trials that reached this rung before it.
        reduction: the reduction factor.
    """
    if not math.isfinite(value):
        return False
    keep = max(1, (len(others) + 1) // reduction)
    return sum(other > value for other in others) < keep


def decide(study: Study, key: TrialId, epoch: int, value: float) -> Decision:
    """Whether a trial that has scored `value` at `epoch` goes on."""
    arm, phase, number = key
    asha = study.space.scheduler.asha
    if phase != "search" or asha is None or epoch not in study.space.rungs:
        return "continue"
    others = [t.scores[epoch] for t in study.log.of(arm) if epoch in t.scores]
    if pauses(study.space):
        return _go_on_or_pause(study, study.log.trials[key], epoch, value, others)
    if asha.is_sentinel(number) and math.isfinite(value):
        return "continue"
    return "continue" if passes(value, others, asha.reduction) else "stop"


def _go_on_or_pause(
    study: Study, trial: Trial, epoch: int, value: float, others: Sequence[float]
) -> Decision:
    """Who is among the best with this score goes on at once: it would be promoted next."""
    asha = study.space.scheduler.asha
    assert asha is not None
    if not math.isfinite(value):
        return "stop"
    n_better = sum(other >= value for other in others)
    is_best = n_better < (len(others) + 1) // asha.reduction
    has_left = may_train(study, trial.ask.arm, epoch - trial.epochs)
    return "continue" if (is_best and has_left) or trial.promoted == "sentinel" else "pause"
