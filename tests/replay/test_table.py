"""Costs and defeats are counted as a reader would."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.efficiency.table import Anytime, cost_to_reach, defeats, header, row

COSTS = np.arange(1, 201) / 10
RANDOM = Anytime(COSTS, np.tile(10 / COSTS, (50, 1)))


def faster(by: float) -> Anytime:
    return Anytime(COSTS, np.tile(10 / (by * COSTS), (50, 1)))


def test_what_is_as_good_at_a_quarter_of_the_budget_is_four_times_cheaper() -> None:
    cost = cost_to_reach(faster(4), RANDOM, 20)
    assert cost.ratio == pytest.approx(4)
    assert cost.interval == (4, 4)
    assert cost_to_reach(RANDOM, RANDOM, 10).ratio == 1


def test_the_interval_is_that_of_the_repetitions() -> None:
    rng = np.random.default_rng(0)
    noisy = Anytime(COSTS, faster(2).regret * rng.uniform(0.2, 1.8, (50, 1)))
    cost = cost_to_reach(noisy, RANDOM, 10)
    assert cost.interval[0] < cost.ratio < cost.interval[1]
    assert cost.interval[0] < 2 < cost.interval[1]


def test_what_never_gets_there_has_no_ratio_and_counts_as_lowest() -> None:
    cost = cost_to_reach(faster(0.5), RANDOM, 20)
    assert np.isnan(cost.ratio)
    assert cost.interval == (0, 0)


def test_defeats_are_counted_and_ties_halved() -> None:
    mixed = Anytime(COSTS, RANDOM.regret.copy())
    mixed.regret[:10] += 1
    mixed.regret[10:15] -= 1
    assert defeats(mixed, RANDOM, 10) == pytest.approx((10 + 35 / 2) / 50)


def test_a_row_has_a_cell_for_each_column() -> None:
    rule = header([3, 10]).splitlines()[1]
    line = row("x", faster(2), RANDOM, [3, 10])
    assert line.count("|") == rule.count("|")
    assert "| 1.67 (1.67 to 1.67), 0 % |" in line
    assert "| 2.0 (2.0 to 2.0) |" in line
