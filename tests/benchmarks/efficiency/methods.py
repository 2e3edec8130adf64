"""What is compared: each a rule for what is trained next and one for which trials go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler

from search.log.events import Ask, Decision, TrialId
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.budget import open_arms
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


class Paused(SearchOrder):
    """New trials as ever, but trials that were paused may go on instead."""

    def __call__(self) -> Any:
        arms = open_arms(self.study)
        if not arms:
            return None
        log = self.study.log
        arm = min(arms, key=lambda arm: (log.totals(arm).epochs, len(log.of(arm))))
        return self.next_of(arm)

    def next_of(self, arm: str) -> Any:
        """What the arm does next."""
        raise NotImplementedError

    def new(self, arm: str) -> Ask:
        """Another configuration."""
        number = len(self.study.log.of(arm))
        params = self.suggesters[arm].suggest(number)
        seed = self.study.space.trial_seed(arm, "search", number)
        return Ask(arm=arm, phase="search", number=number, params=params, seed=seed)

    def at(self, arm: str, rung: int) -> list[Trial]:
        """Trials that have reported at a rung, the best first."""
        epoch = self.study.space.rungs[rung]
        found = [trial for trial in self.study.log.of(arm) if epoch in trial.scores]
        return sorted(found, key=lambda trial: -trial.scores[epoch])


class BestOfFirst(Paused):
    """Half of the budget for the first rung of many, the rest for the best of these, to the end
    (arXiv:2307.15422 with a share of one half).
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self.resumed: set[TrialId] = set()

    def next_of(self, arm: str) -> Any:
        total, first = self.study.space.budget.total_epochs, self.study.space.rungs[0]
        assert total is not None
        if len(self.study.log.of(arm)) < max(2, total // 2 // first):
            return self.new(arm)
        left = [t.ask.key for t in self.at(arm, 0) if t.ask.key not in self.resumed]
        if not left:
            return None
        self.resumed.add(left[0])
        return left[0]


def pause_at_first(
    study: Study, key: TrialId, epoch: int, value: float
) -> Decision | Literal["pause"]:
    """Who goes on after the first rung goes on to the end."""
    return "pause" if epoch == study.space.rungs[0] else "continue"


class Promoting(Paused):
    """ASHA as it was published: trials pause at every rung, and one goes on whenever it is among
    the best 1/reduction there (arXiv:1810.05934, algorithm 2).
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self.promoted: set[tuple[TrialId, int]] = set()

    def next_of(self, arm: str) -> Any:
        asha = self.study.space.scheduler.asha
        assert asha is not None
        for rung in reversed(range(self.n_rungs(arm) - 1)):
            found = self.at(arm, rung)
            for trial in found[: len(found) // asha.reduction]:
                place = trial.ask.key, rung
                if place not in self.promoted:
                    self.promoted.add(place)
                    return trial.ask.key
        return self.new(arm)

    def n_rungs(self, arm: str) -> int:
        """How many there are."""
        return len(self.study.space.rungs)


def pause(study: Study, key: TrialId, epoch: int, value: float) -> Literal["pause"]:
    """At every rung."""
    return "pause"


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
    Method("random + ASHA by promotion", {"sampler": "random"}, Promoting, pause),
    Method("Hyperband", {"sampler": "random"}, decide=hyperband),
    Method("GP", {"scheduler": "none"}, with_sampler(lambda seed: GPSampler(seed=seed))),
    Method("CMA-ES", {"scheduler": "none"}, with_sampler(lambda seed: CmaEsSampler(seed=seed))),
]
