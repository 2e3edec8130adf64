"""What a guess may score on val: nothing can be learned from trials that are no better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial

LUCK = 0.01  # probability that a study in which all trials guess has a score above the limit


@remembered
def chance_limit(study: Study) -> float | None:
    """The best score on val that guessing may reach; None: it cannot be told.

    To guess best is to name the largest class. On so many images a guess that is right with that
    probability exceeds the limit with a probability of 1 % (binomial), counted over all scores of
    the study. It cannot be told from an older log, nor on so few images that the limit lies beyond
    three quarters of the way from the score of a guess to 1.

    By balanced accuracy every guess scores 1 / K in the mean. It varies with the images of the
    rare classes: as accuracy does on K times their harmonic mean, which is fewer images.
    """
    counts = study.log.latest.val_counts
    looks = len(study.log.trials) * len(study.space.rungs)
    if not counts or max(counts) == sum(counts):
        return None
    # To a power of two, so that it moves seldom.
    looks = 2 ** math.ceil(math.log2(max(1, looks)))
    share = score_of_guess(study)
    limit = _limit(_images_that_count(study, counts), share, looks)
    return limit if 4 * limit <= 3 + share else None


def score_of_guess(study: Study) -> float:
    """What naming the largest class scores on val: its share of the images, by balanced accuracy
    1 / K; nan if the log does not tell.
    """
    counts = study.log.latest.val_counts
    if not counts:
        return math.nan
    if study.space.selection == "balanced":
        return 1 / sum(map(bool, counts))
    return max(counts) / sum(counts)


def _images_that_count(study: Study, counts: Sequence[int]) -> int:
    """On how many images accuracy varies as much as the score of a guess does."""
    if study.space.selection != "balanced":
        return sum(counts)
    own = [n for n in counts if n]
    return math.floor(len(own) ** 2 / sum(Fraction(1, n) for n in own))


def is_above_chance(study: Study, trial: Trial) -> bool:
    """Whether a trial has ever scored better than a guess; where that cannot be told, it has if it
    has scored.
    """
    limit = chance_limit(study)
    return any(score > (-1 if limit is None else limit) for score in trial.scores.values())


@cache
def _limit(n: int, share: float, looks: int) -> float:
    """The smallest k / n that a binomial share exceeds with a probability of at most 1 % / looks.

    Summed term by term: scipy would take half a second to import.
    """
    tail, k = 0.0, n
    while (more := tail + _probability(k, n, share)) <= LUCK / looks:
        tail, k = more, k - 1
    return k / n


def _probability(k: int, n: int, p: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
