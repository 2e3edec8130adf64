"""What is compared: each a rule for what is trained next and one for which trials go on.

One that is promoted as `sentinel` is trained to the end, whatever for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler

from search.log.events import Ask, Decision, Move, TrialId
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.early_stopping import decide, passes
from search.strategy.promotion import best_first, best_of_rungs, promoted
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
    handicap: int = 1
    """It may spend so many times the budget."""
    fits_budget: bool = False
    """It plans for the whole budget: each budget is a search of its own, and not the beginning of a
    longer one."""


def with_sampler(make: Callable[[int], BaseSampler]) -> Order:
    """The product's order with another sampler of Optuna, made for a seed."""

    class Other(Suggester):
        def sampler(self, seed: int) -> BaseSampler:
            return make(seed)

    return lambda study: SearchOrder(study, suggester=Other)


class Shared(SearchOrder):
    """Every third new trial of an arm has what the best of another one has, as far as both draw it:
    what an arm learns starts the other.
    """

    def new(self, arm: str) -> Ask:
        """The arm's next new trial."""
        own = super().new(arm)
        best = [self.study.log.best(other) for other in self.study.arms if other != arm]
        if own.number % 3 != 2 or not best or best[0] is None:
            return own
        theirs = best[0].ask.params
        params = {key: theirs.get(key, value) for key, value in own.params.items()}
        return own.model_copy(update={"params": params})


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
            if best := farthest(self.study, arm):
                return promoted(best, "sentinel")
        return None


def farthest(study: Study, arm: str) -> Trial | None:
    """The paused trial that has come farthest, and scores best there."""
    return max(study.log.paused(arm), key=lambda t: (t.epochs, t.score), default=None)


def pause_at_first(study: Study, key: TrialId, epoch: int, value: float) -> Decision:
    """Who goes on after the first rung goes on to the end."""
    return "pause" if epoch == study.space.rungs[0] else "continue"


class Pasha(SearchOrder):
    """ASHA by promotion over two rungs at first, and over another one whenever the two highest
    order the trials that are in both differently (arXiv:2207.06940, with direct ranking). What
    three full trials cost is kept for the best, to be trained to the end.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self.top = dict.fromkeys(study.arms, 1)
        """The highest rung, from 0, that trials of an arm may reach."""

    def __call__(self) -> Move | None:
        log, space = self.study.log, self.study.space
        total = space.budget.total_epochs
        assert total is not None
        open_ones = [arm for arm in self.study.arms if log.totals(arm).epochs < total]
        for arm in sorted(open_ones, key=lambda arm: log.totals(arm).epochs):
            if log.totals(arm).epochs < total - 3 * space.rungs[-1]:
                return self._promoted(arm) or self.new(arm)
            if best := farthest(self.study, arm):
                return promoted(best, "sentinel")
            if not log.of(arm):
                return self.new(arm)
        return None

    def _promoted(self, arm: str) -> Move | None:
        rungs, top = self.study.space.rungs, self.top[arm]
        low, high = (
            [trial.ask.number for trial in best_first(self.study, arm, epoch)]
            for epoch in rungs[top - 1 : top + 1]
        )
        if [number for number in low if number in high] != high and top < len(rungs) - 1:
            self.top[arm] += 1
        found = best_of_rungs(self.study, arm, rungs[: self.top[arm]])
        return None if found is None else promoted(found, "rung")


def pause_unless_chosen(study: Study, key: TrialId, epoch: int, value: float) -> Decision:
    """At every rung, but for those that are trained to the end."""
    return "continue" if study.log.trials[key].promoted == "sentinel" else "pause"


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
STOPPING = {"scheduler.asha.promotion": False}
NO_PICKS = {"confirm.top": 1, "confirm.pick_seeds": 1}
"""The best score of the search wins, so that nothing is paid for picking."""
METHODS = [
    Method("random", RANDOM),
    Method("random, twice the budget", RANDOM, handicap=2),
    Method("random + ASHA", {"sampler": "random", **STOPPING}),
    Method("TPE", {"scheduler": "none"}),
    Method("TPE + ASHA", STOPPING),
    Method("random, pausing", {"sampler": "random"}, fits_budget=True),
    Method("TPE, pausing", fits_budget=True),
    Method("random, no picks", {**RANDOM, **NO_PICKS}),
    Method("TPE, pausing, no picks", NO_PICKS, fits_budget=True),
    Method("TPE, pausing from epoch 1", {"scheduler.asha.grace": 1}),
    Method("TPE, pausing from epoch 3", {"scheduler.asha.grace": 3}),
    Method("TPE, pausing, arms share", order=Shared, fits_budget=True),
    Method("GP, pausing", order=with_sampler(lambda seed: GPSampler(seed=seed)), fits_budget=True),
    Method(
        "first rung, then the best",
        {"sampler": "random", **STOPPING},
        BestOfFirst,
        pause_at_first,
        fits_budget=True,
    ),
    Method("Hyperband", {"sampler": "random", **STOPPING}, decide=hyperband),
    Method(
        "PASHA", {"sampler": "random", **STOPPING}, Pasha, pause_unless_chosen, fits_budget=True
    ),
    Method("GP", {"scheduler": "none"}, with_sampler(lambda seed: GPSampler(seed=seed))),
    Method("CMA-ES", {"scheduler": "none"}, with_sampler(lambda seed: CmaEsSampler(seed=seed))),
]
