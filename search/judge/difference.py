"""A difference and how sure it is, by itself or as one of several: Student's t, and Holm.

Differences are fractions of 1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import field, replace
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as documented
from scipy import stats

from supcon.parsing import DOCUMENTED

ALPHA = 0.05
"""How often a difference may be claimed that is none; of several comparisons: any of them."""
MIN_SEARCHES = 3
ROUNDING = 1e-16  # a variance below it is float error: one image of a million gives 1e-12


@documented(frozen=True, config=DOCUMENTED)
class Judged:
    """A difference as one of several comparisons, that share the 5 % of a single one (Holm)."""

    comparisons: int
    """How many there are."""
    level: float
    """At which this one was judged: a difference is shown where its p-value is smaller."""
    interval: tuple[float, float]
    """Of confidence 1 - level: it leaves out 0 exactly where a difference is shown."""
    detectable: float
    """The smallest true difference that is found 4 times in 5 at that level."""


@documented(frozen=True, config=DOCUMENTED)
class Difference:
    """Arm A minus arm B in test accuracy; fractions of 1."""

    difference: float
    ci95: tuple[float, float]
    p_value: float
    n_seeds: int
    """Of the arm that has fewer; of `methods`, the number of searches."""
    standard_error: float
    detectable: float
    """The smallest true difference that is found 4 times in 5; 0 without variance."""
    n_groups: int = 0
    """Groups of test images, which are resampled as wholes; 0: each image is by itself."""
    judged: Judged | None = Field(default=None, exclude_if=lambda value: value is None)
    """As one of several comparisons; left out where it is the only one."""
    freedom: Annotated[float, Field(exclude=True)] = field(default=1.0, compare=False)
    """Degrees of freedom of its t, by which it can be judged at other levels; not in files."""

    @property
    def interval(self) -> tuple[float, float]:
        """It leaves out 0 exactly where a difference is shown."""
        return self.judged.interval if self.judged else self.ci95

    @property
    def smallest(self) -> float:
        """What is detectable, at the level at which it was judged."""
        return self.judged.detectable if self.judged else self.detectable

    @property
    def is_shown(self) -> bool:
        """Whether there is a difference, as far as this tells."""
        low, high = self.interval
        return low > 0 or high < 0

    def one_of(self, comparisons: int, level: float) -> Difference:
        """The same, judged at a level as one of so many."""
        judged = Judged(
            comparisons=comparisons,
            level=level,
            interval=_interval(self.difference, self.standard_error, self.freedom, level),
            detectable=detectable(self.standard_error, self.freedom, self.freedom, level),
        )
        return replace(self, judged=judged)

    def judged_as(self, other: Difference) -> Difference:
        """The same, judged as another one is."""
        return self.one_of(other.judged.comparisons, other.judged.level) if other.judged else self


def holm(found: Sequence[Difference], comparisons: int) -> list[Difference]:
    """Differences judged together, so that one of 20 studies claims any that is none, or fewer.

    Holm's step-down (1979, Scandinavian Journal of Statistics 6): the k-th smallest of m p-values
    is judged at alpha / (m - k + 1), up to the first that shows nothing; all that follow show
    nothing either, and are judged at the level of that one.

    Args:
        found: what could be compared, in any order.
        comparisons: m, of which some may still be to come; whatever these find, what is shown by
            then stays shown. A single one is as it is.

    Returns:
        The same differences in the same order.
    """
    if comparisons < len(found):
        raise ValueError(f"{len(found)} of {comparisons} comparisons")
    result, level, goes_on = list(found), ALPHA, True
    if comparisons == 1:
        return result
    for k, i in enumerate(sorted(range(len(found)), key=lambda i: found[i].p_value)):
        level = ALPHA / (comparisons - k) if goes_on else level
        result[i] = found[i].one_of(comparisons, level)
        goes_on = goes_on and result[i].is_shown
    return result


def estimate(d: float, terms: list[tuple[float, float]], n: int) -> Difference:
    """Satterthwaite's t from a difference and the terms of its variance.

    Args:
        d: the difference.
        terms: variances that add up to that of `d`, each with its degrees of freedom.
        n: seeds, or searches.
    """
    variance = sum(v for v, _ in terms)
    if variance < ROUNDING:
        return Difference(d, (d, d), 1.0 if d == 0 else 0.0, n, 0.0, 0.0)
    freedom, error = freedom_of(terms), math.sqrt(variance)
    p = 2 * float(stats.t.sf(abs(d) / error, freedom))
    smallest = detectable(error, freedom, freedom)
    interval = _interval(d, error, freedom, ALPHA)
    return Difference(d, interval, p, n, error, smallest, freedom=freedom)


def _interval(d: float, error: float, freedom: float, level: float) -> tuple[float, float]:
    half = float(stats.t.ppf(1 - level / 2, freedom)) * error
    return d - half, d + half


def freedom_of(terms: list[tuple[float, float]]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances; any where the sum is 0."""
    variance = sum(v for v, _ in terms)
    return variance**2 / sum(v**2 / df for v, df in terms) if variance >= ROUNDING else 1.0


def detectable(error: float, freedom: float, known: float, level: float = ALPHA) -> float:
    """The true difference that a two-sided test finds with a probability of 80 %; 0 without error.

    Args:
        error: standard error, as estimated.
        freedom: degrees of freedom of the test.
        known: degrees of freedom from which the standard error was estimated.
        level: of the test.
    """
    if error == 0:
        return 0.0
    # More than half of all estimates are too small. With the median's correction the power is 80 %
    # at 3, 4, 5 and 10 seeds; without it 71, 75, 76 and 79 % (Welch's test of normal numbers).
    error *= math.sqrt(known / float(stats.chi2.ppf(0.5, known)))
    return error * float(stats.t.ppf([1 - level / 2, 0.8], freedom).sum())


def methods(differences: Sequence[float]) -> Difference:
    """Difference of two methods: a t-test over independent searches, each with its winners.

    Args:
        differences: A minus B of each search, >= 3 of them, of other study seeds and splits.

    Returns:
        The mean difference. If all searches found the same, nothing says how much another would
        differ: the interval is a point and the p-value 1 (all found 0) or 0.
    """
    if len(differences) < MIN_SEARCHES:
        raise ValueError(f"at least {MIN_SEARCHES} searches of both arms, got {len(differences)}")
    mean, error = _mean_and_error(differences)
    return estimate(mean, [(error**2, len(differences) - 1)], len(differences))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of a mean, by Student's t; None below 2 values, a point if all are equal."""
    if len(values) < 2:
        return None
    mean, error = _mean_and_error(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - half, mean + half


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    if not all(map(math.isfinite, values)):
        raise ValueError(f"finite numbers are needed, got {list(values)}")
    # Of `statistics`, not numpy: exact, so that equal values vary by 0.
    return statistics.mean(values), math.sqrt(statistics.variance(values) / len(values))
