"""Intervals of a share: against known ones, slow loops, and simulated studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from supcon.transfer.intervals import share_of

Correct = npt.NDArray[np.bool_]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def right(*counts: int, of: int) -> Correct:
    """A row for each count of right answers, of so many images."""
    return np.stack([np.arange(of) < n for n in counts])


@pytest.mark.parametrize(("n", "of"), [(7, 10), (0, 10), (10, 10), (997, 1000), (1, 2)])
def test_one_model_has_the_interval_of_wilson(n: int, of: int) -> None:
    found = share_of(right(n, of=of))
    expected = stats.binomtest(n, of).proportion_ci(method="wilson")
    assert found.value == pytest.approx(n / of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_variance_of_several_seeds_is_that_of_seeds_and_images() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.3, 1, 200)
    correct = rng.random((4, 200)) < chance + rng.normal(0, 0.05, (4, 1))
    n, n_images = correct.shape
    of_seeds = correct.mean(1).var(ddof=1) / n
    e = np.mean([correct[:, i].var(ddof=1) for i in range(n_images)])
    of_images = max(0, correct.mean(0).var(ddof=1) - e / n) / n_images
    found, total = share_of(correct), of_seeds + of_images
    freedom = total**2 / (of_seeds**2 / (n - 1))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(total)
    assert found.value == pytest.approx(correct.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)
    assert found.high + found.low == pytest.approx(2 * correct.mean())


def test_groups_of_one_image_are_images_and_images_of_a_group_are_one() -> None:
    rng = np.random.default_rng(1)
    one = rng.random((1, 60)) < 0.8
    each = np.arange(60)
    alone, grouped = share_of(one), share_of(one, groups=each)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=0.005)
    fivefold = share_of(np.repeat(one, 5, axis=1), groups=np.repeat(each, 5))
    assert (fivefold.value, fivefold.low, fivefold.high) == pytest.approx(
        (grouped.value, grouped.low, grouped.high)
    )


def test_balanced_accuracy_counts_each_class_alike() -> None:
    labels = np.repeat([0, 1], [90, 10])
    correct = np.concatenate([right(90, of=90), right(5, of=10)], axis=1)
    found = share_of(correct, labels=labels)
    assert found.value == 0.75
    assert found.low < 0.62 < 0.85 < found.high  # as unsure as 10 images are
    assert share_of(correct).low > 0.88
    equal = np.arange(100) % 2
    both = [share_of(correct, labels=known).value for known in (None, equal)]
    assert both[0] == pytest.approx(both[1])


@pytest.mark.parametrize("n", [1, 3])
def test_answers_that_are_all_right_are_no_certainty(n: int) -> None:
    found = share_of(np.ones((n, 40), dtype=bool))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(stats.binomtest(40, 40).proportion_ci(method="wilson").low)
    few = share_of(np.ones((n, 40), dtype=bool), groups=np.arange(40) // 10)
    assert few.low < 0.7  # four groups


def mean_chance(mean: float, *sds: float) -> float:
    """The mean of 1 / (1 + exp(-x)) over normal x."""
    x = mean + np.sqrt(sum(sd**2 for sd in sds)) * NODES
    return float((WEIGHTS / (1 + np.exp(-x))).sum() / WEIGHTS.sum())


def covered(kind: str, n: int, rng: np.random.Generator) -> bool:
    """Whether the interval of a simulated study of n seeds holds the share that it estimates.

    Seeds, images and groups have effects of their own. One seed speaks of itself alone.
    """
    groups, labels = np.repeat(np.arange(40), 5), (np.arange(200) < 40).astype(np.int64)
    of_seed = 0.25 * rng.normal(size=(n, 1))
    means = [1.2, 0.4] if kind == "balanced" else [1.2, 1.2]
    effect, sds = rng.normal(size=200), [1.0]
    given: dict[str, Any] = {"labels": labels} if kind == "balanced" else {}
    if kind == "groups":
        effect, sds, given = effect + rng.normal(size=40)[groups], [1.0, 1.0], {"groups": groups}
    correct = rng.random((n, 200)) < 1 / (1 + np.exp(-np.array(means)[labels] - of_seed - effect))
    if n == 1:
        means = [mean + float(of_seed[0, 0]) for mean in means]
    else:
        sds.append(0.25)
    truth = float(np.mean([mean_chance(mean, *sds) for mean in means]))
    found = share_of(correct, **given)
    return found.low <= truth <= found.high


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("kind", ["plain", "groups", "balanced"])
def test_an_interval_holds_the_true_share_in_about_95_of_100_simulated_studies(
    kind: str, n: int
) -> None:
    rng = np.random.default_rng([n, len(kind)])
    hits = np.mean([covered(kind, n, rng) for _ in range(400)])
    assert 0.92 <= hits <= 0.99
