"""The jackknife, against means and a bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from search.further.jackknife import pseudo_values


def without_each(x: np.ndarray, blocks: np.ndarray, measure: object) -> list[float]:
    assert callable(measure)
    kept = (blocks != j for j in range(-1, blocks.max() + 1))
    return [float(measure(x[k])) for k in kept]


def test_of_a_mean_over_equal_blocks_they_are_the_means_of_the_blocks() -> None:
    x, blocks = np.random.default_rng(0).normal(size=60), np.arange(60) % 12
    found = pseudo_values(without_each(x, blocks, np.mean))
    assert found == pytest.approx([x[blocks == j].mean() for j in range(12)])


def test_their_mean_is_the_measure_whatever_its_bias() -> None:
    x, blocks = np.random.default_rng(0).exponential(size=61), np.arange(61) % 12
    found = without_each(x, blocks, np.var)
    assert pseudo_values(found).mean() == pytest.approx(found[0])


@pytest.mark.parametrize("measure", [np.std, np.median, lambda x: np.exp(x.mean())])
def test_their_variance_is_that_of_the_measure(measure: object) -> None:
    assert callable(measure)
    rng, n, blocks = np.random.default_rng(0), 600, np.arange(600) % 30
    samples = [rng.exponential(size=n) for _ in range(400)]
    true = np.var([measure(x) for x in samples], ddof=1)
    estimated = np.mean(
        [pseudo_values(without_each(x, blocks, measure)).var(ddof=1) / 30 for x in samples[:100]]
    )
    assert estimated == pytest.approx(true, rel=0.25)
