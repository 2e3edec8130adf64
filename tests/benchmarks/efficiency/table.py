"""Regret, cost and defeats of each method, from the values of its incumbents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.benchmarks.efficiency.recorded import Floats

RESAMPLES = 1000


@dataclass(frozen=True)
class Anytime:
    """What a method had found at each cost."""

    costs: Floats
    """(costs,) in full trials of an arm."""
    regret: Floats
    """(repetitions, costs) in points of accuracy: the best that there is minus the incumbent, both
    without noise, in the mean over the arms."""

    def at(self, budget: float) -> Floats:
        """(repetitions,) once so much was spent."""
        return self.regret[:, _last(self.costs, budget)]


@dataclass(frozen=True)
class Cost:
    """What a method pays for what random search has after a budget."""

    ratio: float
    """The budget over the cost at which its mean regret is as low; nan: never, with what it had."""
    interval: tuple[float, float]
    """95 %, by the bootstrap over repetitions; a resample in which it is never as low counts as
    lowest."""


def cost_to_reach(method: Anytime, random: Anytime, budget: float, seed: int = 0) -> Cost:
    """How many times cheaper a method is than random search of `budget` full trials.

    The repetitions of the two are paired.
    """
    rng = np.random.default_rng(seed)
    picked = rng.integers(len(method.regret), size=(RESAMPLES, len(method.regret)))
    drawn = [_ratio(method, random, budget, rows) for rows in picked]
    low, high = np.percentile(np.nan_to_num(drawn, nan=0.0), [2.5, 97.5])
    whole = np.arange(len(method.regret))
    return Cost(_ratio(method, random, budget, whole), (float(low), float(high)))


def _ratio(method: Anytime, random: Anytime, budget: float, rows: npt.NDArray[np.int64]) -> float:
    goal = random.at(budget)[rows].mean()
    reached = np.flatnonzero(method.regret[rows].mean(0) <= goal)
    return budget / float(method.costs[reached[0]]) if len(reached) else np.nan


def defeats(method: Anytime, random: Anytime, budget: float) -> float:
    """Share of the repetitions in which random search of the same budget has found better; half of
    those in which both have found the same.
    """
    own, other = method.at(budget), random.at(budget)
    return float((own > other).mean() + (own == other).mean() / 2)


def _last(costs: Floats, budget: float) -> int:
    return int(np.flatnonzero(costs <= budget + 1e-9)[-1])


def row(name: str, method: Anytime, random: Anytime, budgets: Sequence[int]) -> str:
    """A line of Markdown."""
    cells = [name]
    for budget in budgets:
        low, median, high = np.percentile(method.at(budget), [25, 50, 75])
        lost = f", {100 * defeats(method, random, budget):.0f} %" if method is not random else ""
        cells.append(f"{median:.2f} ({low:.2f} to {high:.2f}){lost}")
    for budget in (10, 20):
        if method is random:
            cells.append("1")
            continue
        cost = cost_to_reach(method, random, budget)
        low, high = cost.interval
        cells.append(f"{cost.ratio:.1f} ({low:.1f} to {high:.1f})")
    return "| " + " | ".join(cells) + " |"


def header(budgets: Sequence[int]) -> str:
    """Its two lines."""
    cells = ["method", *(f"regret at {b}" for b in budgets), "cheaper at 10", "cheaper at 20"]
    return "| " + " | ".join(cells) + " |\n|" + "---|" * len(cells)
