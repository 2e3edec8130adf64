"""What a trial that pauses may be expected to score at full length."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from search.log.trial import Trial


def expected_scores(trials: Sequence[Trial]) -> dict[int, float]:
    """Number -> the last score, and what those that went on have gained from there, in the mean.

    Trials of a rung keep their order, and those of other rungs can be compared with them. Nothing
    is expected of a trial that was never scored, or ended by what broke it.

    Args:
        trials: of an arm.
    """
    curves = {
        trial.ask.number: trial.scores
        for trial in trials
        if trial.outcome in (None, "completed", "stopped") and math.isfinite(trial.score)
    }
    epochs = sorted({epoch for scores in curves.values() for epoch in scores})
    ahead = dict.fromkeys(epochs, 0.0)
    for low, high in reversed([*itertools.pairwise(epochs)]):
        gains = [s[high] - s[low] for s in curves.values() if low in s and high in s]
        ahead[low] = ahead[high] + (statistics.fmean(gains) if gains else 0.0)
    return {number: scores[max(scores)] + ahead[max(scores)] for number, scores in curves.items()}
