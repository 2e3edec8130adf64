"""Learning curves that `tests.benchmarks.record` wrote, as arrays."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search.space.distribution import Distribution
from search.space.space import Space

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """The runs of one arm, a row each."""

    params: list[dict[str, Any]]
    x: Floats
    """(runs, features) of the params, each from 0 to 1."""
    number: npt.NDArray[np.int64]
    """(runs,) the configuration; several runs of one differ in the seed."""
    epochs: tuple[int, ...]
    """That were scored."""
    logits: Floats
    """(runs, epochs) of the score; of a run that diverged, the lowest of the record from then on.
    """
    epoch_seconds: Floats
    """(runs,) of training an epoch, as the clock said."""


def read_records(path: Path, space: Space, metric: str = "probe_top1") -> dict[str, Recorded]:
    """Arm -> its runs."""
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    return {
        arm: _arm([r for r in rows if r["arm"] == arm], space, arm, metric) for arm in space.arms
    }


def _arm(rows: list[dict[str, str]], space: Space, arm: str, metric: str) -> Recorded:
    drawn = space.arm_params(arm)
    params = [json.loads(row["params"]) for row in rows]
    scores: list[dict[str, float]] = [json.loads(row[metric]) for row in rows]
    epochs = tuple(sorted({int(epoch) for each in scores for epoch in each}))
    table = np.array([[each.get(str(e), np.nan) for e in epochs] for each in scores])
    table = np.where(np.isfinite(table), table, np.nanmin(table))
    seconds = [json.loads(row["seconds"]) for row in rows]
    return Recorded(
        params,
        np.array([features(each, drawn) for each in params]),
        np.array([int(row["number"]) for row in rows]),
        epochs,
        logit(table),
        np.array([_epoch_seconds(each) for each in seconds]),
    )


def _epoch_seconds(seconds: Mapping[str, float]) -> float:
    last = max(seconds, key=int, default=None)
    return seconds[last] / int(last) if last else np.nan


def features(params: Mapping[str, Any], drawn: Mapping[str, Distribution]) -> list[float]:
    """A configuration as numbers: where each parameter lies in its range, choices one by one; what
    is not drawn in it is in the middle.
    """
    found = list[float]()
    for key, distribution in drawn.items():
        if distribution.kind == "choice":
            found += [float(params.get(key) == value) for value in distribution.values]
        else:
            found.append(distribution.position(params[key]) if key in params else 0.5)
    return found


def logit(score: Floats) -> Floats:
    """Of an accuracy; no nearer to 0 and 1 than 0.2 %."""
    clipped = np.clip(score, 0.002, 0.998)
    return np.log(clipped / (1 - clipped))


def accuracy(logits: Floats) -> Floats:
    """The reverse."""
    return 1 / (1 + np.exp(-logits))
