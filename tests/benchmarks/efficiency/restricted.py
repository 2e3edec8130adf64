"""The records alone as a world: only what was recorded can be drawn, each configuration once.

A check on the fitted worlds, which are smoother than the truth: here every curve is a real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.log.study import Study
from search.strategy.sampler import Suggester
from search.strategy.search_order import SearchOrder
from tests.benchmarks.efficiency.recorded import Floats, accuracy, features
from tests.benchmarks.efficiency.simulated import Order
from tests.benchmarks.efficiency.surrogate import World


class Restricted(World):
    """The configurations of a record, with the first curve of each."""

    def __init__(self, fitted: World) -> None:
        self.record, self.drawn = fitted.record, fitted.drawn
        self.curves, self.noise, self.known = fitted.curves, fitted.noise, {}
        self.numbers, self.first = np.unique(self.record.number, return_index=True)
        self.x = self.record.x[self.first]
        self.at = {_key(self.record.params[row]): i for i, row in enumerate(self.first)}
        self.truth = self._truth(fitted)
        values = accuracy(self.truth)
        self.best, self.blind = float(values.max()), float(values.mean())

    def _truth(self, fitted: World) -> Floats:
        """(configurations,) final logits without noise, as far as can be told: between what the
        curves say and the mean of a configuration's own runs, by how much either is to be trusted.
        """
        runs = [self.record.logits[self.record.number == n, -1] for n in self.numbers]
        said, own = fitted.curves(self.x)[:, -1], np.array([each.mean() for each in runs])
        noise = self.noise.curves[:, -1].var() / np.array([len(each) for each in runs])
        rough = max(0.0, float(np.mean((own - said) ** 2 - noise)))
        return said + rough / (rough + noise) * (own - said)

    def mean_curve(self, params: Mapping[str, Any]) -> Floats:
        """(1,) the final logit."""
        return self.truth[self.at[_key(params)]][None]

    def scores(self, params: Mapping[str, Any], seed: int, at: Sequence[int]) -> dict[int, float]:
        """Of the recorded run, whatever the seed."""
        return self.scored(self.record.logits[self.first[self.at[_key(params)]]], at)

    def nearest(self, params: Mapping[str, Any], taken: set[Any]) -> dict[str, Any] | None:
        """The recorded configuration most like another one, of those that are left."""
        distance = ((self.x - np.array(features(params, self.drawn))) ** 2).sum(1)
        for i in np.argsort(distance):
            found = self.record.params[self.first[i]]
            if _key(found) not in taken:
                return found
        return None


class Nearest(Suggester):
    """Suggests what was recorded next to what another one suggests."""

    def __init__(self, inner: Suggester, world: Restricted) -> None:
        self.inner, self.world = inner, world
        self.study, self.arm = inner.study, inner.arm

    def suggest(self, number: int) -> dict[str, Any]:
        """Params of a recorded configuration that was not drawn yet."""
        params = self.inner.suggest(number)
        taken = {_key(trial.ask.params) for trial in self.study.log.of(self.arm)}
        found = self.world.nearest(params, taken)
        if found is None:
            raise LookupError(f"{self.arm}: all {len(self.world.x)} configurations were drawn")
        return found


def restricted(order_of: Order, worlds: Mapping[str, Restricted]) -> Order:
    """An order that draws nothing but what was recorded."""

    def order(study: Study) -> SearchOrder:
        found = order_of(study)
        for arm, suggester in found.suggesters.items():
            found.suggesters[arm] = Nearest(suggester, worlds[arm])
        return found

    return order


def _key(params: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(params.items()))
