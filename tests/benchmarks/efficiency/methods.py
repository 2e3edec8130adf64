"""What is compared: each a rule for what is trained next and one for which trials go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler

from search.log.events import Decision, Move, Promoted, TrialId
from search.log.study import Study
from search.strategy.early_stopping import decide, passes
from search.strategy.sampler import Suggester
from search.strategy.search_order import SearchOrder
from tests.benchmarks.efficiency.simulated import Decide, Order


@dataclass(frozen=True)
class Method:
    """A way to search."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the space."""
    order: Order = SearchOrder
    decide: Decide = decide
    fits_budget: bool = False
    """It plans for the whole budget: each budget is a search of its own, and not the beginning of a
    longer one."""


def with_sampler(make: Callable[[int], BaseSampler]) -> Order:
    """The product's order with another sampler of Optuna, made for a seed."""

    class Other(Suggester):
        def sampler(self, seed: int) -> BaseSampler:
            return make(seed)

    return lambda study: SearchOrder(study, suggester=Other)


class BestOfFirst(SearchOrder):
    """Half of the budget for the first rung of many, the rest for the best of these, to the end
    (arXiv:2307.15422 with a share of one half).
    """

    def __call__(self) -> Move | None:
        log, space = self.study.log, self.study.space
        total, first = space.budget.total_epochs, space.rungs[0]
        assert total is not None
        open_ones = [arm for arm in self.study.arms if log.totals(arm).epochs < total]
        for arm in sorted(open_ones, key=lambda arm: log.totals(arm).epochs):
            if len(log.of(arm)) < max(2, total // 2 // first):
                return self.new(arm)
            paused = [trial for trial in log.paused() if trial.ask.arm == arm]
            if best := max(paused, key=lambda trial: trial.score, default=None):
                return Promoted(arm=arm, phase="search", number=best.ask.number, why="end")
        return None


def pause_at_first(study: Study, key: TrialId, epoch: int, value: float) -> Decision:
    """Who goes on after the first rung goes on to the end."""
    return "pause" if epoch == study.space.rungs[0] else "continue"


def hyperband(study: Study, key: TrialId, epoch: int, value: float) -> Decision:
    """Brackets by turns: the first stops at all rungs, the next one skips the first rung, and so
    on; the last stops at none. As many trials of each as cost the same (arXiv:1603.06560).
    """
    arm, _, number = key
    rungs, asha = study.space.rungs, study.space.scheduler.asha
    assert asha is not None
    own = bracket_of(number, len(rungs), asha.reduction)
    if rungs.index(epoch) < own:
        return "continue"
    others = [
        trial.scores[epoch]
        for trial in study.log.of(arm)
        if epoch in trial.scores and bracket_of(trial.ask.number, len(rungs), asha.reduction) == own
    ]
    return "continue" if passes(value, others, asha.reduction) else "stop"


def bracket_of(number: int, n_rungs: int, reduction: int) -> int:
    """Of trial `number`: in turn n / (n - b) * reduction**(n - 1 - b) trials of each bracket b."""
    sizes = [
        math.ceil(n_rungs / (n_rungs - b) * reduction ** (n_rungs - 1 - b)) for b in range(n_rungs)
    ]
    place = number % sum(sizes)
    for bracket, size in enumerate(sizes):
        if place < size:
            return bracket
        place -= size
    raise AssertionError


RANDOM = {"sampler": "random", "scheduler": "none"}
METHODS = [
    Method("random", RANDOM),
    Method("random + ASHA", {"sampler": "random"}),
    Method("TPE", {"scheduler": "none"}),
    Method("TPE + ASHA"),
    Method(
        "first rung, then the best",
        {"sampler": "random"},
        BestOfFirst,
        pause_at_first,
        fits_budget=True,
    ),
    Method("random + ASHA, pausing", {"sampler": "random", "scheduler.asha.promotion": True}),
    Method("TPE + ASHA, pausing", {"scheduler.asha.promotion": True}),
    Method("Hyperband", {"sampler": "random"}, decide=hyperband),
    Method("GP", {"scheduler": "none"}, with_sampler(lambda seed: GPSampler(seed=seed))),
    Method("CMA-ES", {"scheduler": "none"}, with_sampler(lambda seed: CmaEsSampler(seed=seed))),
]
