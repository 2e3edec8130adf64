"""A world to search in: what any configuration would score after any epoch, with any seed.

A Gaussian process for each of the first principal components of the recorded learning curves, in
logits, says what a configuration scores without noise. The noise of a run is that of a recorded
one: its curve minus the mean of the runs of the same configuration on other seeds, as a whole, so
that its correlation over the epochs is kept.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from sklearn.model_selection import GroupKFold

from search.space.distribution import Distribution
from tests.benchmarks.efficiency.recorded import Floats, Recorded, accuracy, features

EXPLAINED = 0.99
"""Of the variance of the curves, by the components that are modelled."""
NEIGHBOURS = 1 / 3
"""Share of the noise curves that a run draws from: those of configurations that score alike."""


class Curves:
    """The learning curves of an arm without noise."""

    def __init__(self, record: Recorded) -> None:
        self.pca = PCA(n_components=EXPLAINED, svd_solver="full").fit(record.logits)
        targets = self.pca.transform(record.logits)
        self.scale = targets.std(0)
        kernel = _kernel(record.x.shape[1])
        with warnings.catch_warnings():  # a length at its bound is that of what does not matter
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.models = [
                GaussianProcessRegressor(kernel, normalize_y=True).fit(record.x, target)
                for target in (targets / self.scale).T
            ]

    def refitted(self, record: Recorded) -> Curves:
        """The same components and kernels, on other runs."""
        other = copy.copy(self)
        targets = self.pca.transform(record.logits) / self.scale
        other.models = [
            GaussianProcessRegressor(m.kernel_, optimizer=None, normalize_y=True).fit(
                record.x, target
            )
            for m, target in zip(self.models, targets.T, strict=True)
        ]
        return other

    def __call__(self, x: Floats) -> Floats:
        """(n, features) -> (n, epochs) logits."""
        found = np.stack([model.predict(x) for model in self.models], axis=1)
        return self.pca.inverse_transform(found * self.scale)


def _kernel(n_features: int) -> Kernel:
    smooth = Matern(np.full(n_features, 0.5), (0.05, 50.0), nu=2.5)
    return ConstantKernel(1.0, (1e-2, 1e2)) * smooth + WhiteKernel(0.1, (1e-4, 1e1))


@dataclass(frozen=True)
class Noise:
    """What seeds do to curves."""

    curves: Floats
    """(runs, epochs) in logits."""
    level: Floats
    """(runs,) the last logit of the mean curve of the configuration."""

    @classmethod
    def of(cls, record: Recorded) -> Noise:
        """That of the configurations that have several runs."""
        found, level = list[Floats](), list[float]()
        for number in np.unique(record.number):
            runs = record.logits[record.number == number]
            if len(runs) > 1:
                found += [*((runs - runs.mean(0)) * np.sqrt(len(runs) / (len(runs) - 1)))]
                level += [float(runs.mean(0)[-1])] * len(runs)
        if len(found) < 6:
            raise ValueError(f"only {len(found)} runs share their configuration with another one")
        return cls(np.array(found), np.array(level))

    def draw(self, level: float, rng: np.random.Generator, n: int = 1) -> Floats:
        """(n, epochs) of runs of a configuration that ends near `level`."""
        near = np.argsort(np.abs(self.level - level))[: max(6, int(NEIGHBOURS * len(self.level)))]
        return self.curves[rng.choice(near, n)]


class World:
    """An arm of a space, with a score for everything that can be drawn in it."""

    def __init__(self, record: Recorded, drawn: Mapping[str, Distribution]) -> None:
        self.record, self.drawn = record, drawn
        self.curves, self.noise = Curves(record), Noise.of(record)
        self.known: dict[tuple[Any, ...], Floats] = {}
        pool = np.random.default_rng(0).random((4096, len(drawn)))
        values = accuracy(self.curves(self._grid(pool))[:, -1])
        self.best, self.blind = float(values.max()), float(values.mean())
        """Scores without noise of 4,096 configurations drawn at random: the best and the mean."""

    def _grid(self, pool: Floats) -> Floats:
        """Points of the cube as configurations: whole numbers and choices are what they can be."""
        return np.array([features(configuration(row, self.drawn), self.drawn) for row in pool])

    def mean_curve(self, params: Mapping[str, Any]) -> Floats:
        """(epochs,) logits without noise."""
        key = tuple(params.items())
        if key not in self.known:
            self.known[key] = self.curves(np.array([features(params, self.drawn)]))[0]
        return self.known[key]

    def value(self, params: Mapping[str, Any]) -> float:
        """The score at full length without noise."""
        return float(accuracy(self.mean_curve(params)[-1]))

    def final_scores(self, params: Mapping[str, Any], rng: np.random.Generator, n: int) -> Floats:
        """(n,) at full length, on so many seeds."""
        mean = self.mean_curve(params)
        return accuracy(mean[-1] + self.noise.draw(mean[-1], rng, n)[:, -1])

    def scores(self, params: Mapping[str, Any], seed: int, at: Sequence[int]) -> dict[int, float]:
        """Epoch -> score of a run; between recorded epochs straight in its logarithm."""
        mean = self.mean_curve(params)
        return self.scored(mean + self.noise.draw(mean[-1], np.random.default_rng(seed))[0], at)

    def scored(self, run: Floats, at: Sequence[int]) -> dict[int, float]:
        """Epoch -> score of a run of so many logits, (recorded epochs,)."""
        logits = np.interp(np.log(at), np.log(self.record.epochs), run)
        return dict(zip(at, map(float, accuracy(logits)), strict=True))

    def epoch_seconds(self, params: Mapping[str, Any]) -> float:
        """Of training an epoch: the median of the ten recorded runs most alike."""
        x = np.array(features(params, self.drawn))
        near = np.argsort(((self.record.x - x) ** 2).sum(1))[:10]
        return float(np.median(self.record.epoch_seconds[near]))


def configuration(row: Floats, drawn: Mapping[str, Distribution]) -> dict[str, Any]:
    """A point of the unit cube as params."""
    found = dict[str, Any]()
    for u, (key, each) in zip(row, drawn.items(), strict=True):
        if each.kind in ("choice", "pow2"):
            values = each.values if each.kind == "choice" else each.powers
            found[key] = values[int(u * len(values))]
        else:
            low, high = (np.log(v) if each.is_log else v for v in each.values)
            value = low + u * (high - low)
            found[key] = float(np.exp(value) if each.is_log else value)
            if each.kind in ("int", "logint"):
                found[key] = round(found[key])
    return found


@dataclass(frozen=True)
class Fit:
    """How well curves say what configurations score that they have not seen; points of accuracy."""

    runs: int
    configurations: int
    error: float
    """Root of the mean squared error of a run's final score, configurations held out in turn."""
    noise: float
    """Of which so much is the seed: standard deviation within configurations."""
    spread: float
    """Standard deviation of all final scores: the error of who says the mean for all."""
    tau: float
    """Kendall's, between what was said and what was scored."""


def held_out(world: World) -> Fit:
    """Five folds of configurations; the kernels are those of all, which are few numbers."""
    record, noise = world.record, world.noise
    said = np.empty(len(record.x))
    for train, test in GroupKFold(5).split(record.x, groups=record.number):
        part = replace(record, x=record.x[train], logits=record.logits[train])
        said[test] = accuracy(world.curves.refitted(part)(record.x[test])[:, -1])
    final = accuracy(record.logits[:, -1])
    seeds = accuracy(noise.level + noise.curves[:, -1]) - accuracy(noise.level)
    return Fit(
        len(final),
        len(np.unique(record.number)),
        100 * float(np.sqrt(np.mean((said - final) ** 2))),
        100 * float(seeds.std()),
        100 * float(final.std()),
        float(kendalltau(said, final).statistic),
    )
