"""Trials wasted beyond a cliff of memory: this search against Ray's own OptunaSearch.

    python -m tests.benchmarks.cliff             # half a minute

A toy space of one parameter: above 0.8 there is no memory, and the nearer a trial comes to that,
the better it is. 60 trials, one at a time, with the same sampler and seeds. Ray tells Optuna that
such a trial failed, from which its samplers learn nothing; here it was pruned. The last line is
JSON.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from search.log.events import Ask
from search.strategy.search_order import SearchOrder
from tests.written import WrittenStudy

CLIFF, TRIALS, SEEDS = 0.8, 60, 10
TREE: dict[str, Any] = {
    "params": {"optim.momentum": {"uniform": [0, 0.999]}},
    "arms": {"ce": {"loss.name": "ce"}},
    "budget": {"trials": TRIALS},
    "scheduler": "none",
}


def main() -> None:
    """Run, print a table and a line of JSON."""
    rows = []
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            rows.append((wasted_by_us(Path(folder), seed), wasted_by_rays_own(seed)))
    print(f"{'seed':>6s}{'ours':>8s}{'Ray':>8s}")
    for seed, (ours, rays) in enumerate(rows):
        print(f"{seed:6d}{ours:8d}{rays:8d}")
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    print(f"{'mean':>6s}{means[0]:8.1f}{means[1]:8.1f}   of {TRIALS} trials\n")
    print(json.dumps({"ours": means[0], "ray": means[1], "ratio": means[1] / means[0]}))


def wasted_by_us(folder: Path, seed: int) -> int:
    """Trials of this search that fell off the cliff, of `TRIALS`."""
    study = WrittenStudy(folder, **TREE, seed=seed)

    def x(ask: Ask) -> float:
        return float(ask.params["optim.momentum"])

    asks = study.follow(
        SearchOrder(study), x, lambda ask: "infeasible" if x(ask) > CLIFF else "completed"
    )
    return sum(x(ask) > CLIFF for ask in asks)


def wasted_by_rays_own(seed: int) -> int:
    """Trials of Ray's OptunaSearch that fell off the cliff, of `TRIALS`."""
    search = OptunaSearch(
        {"x": optuna.distributions.FloatDistribution(0, 0.999)},
        metric="score",
        mode="max",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    wasted = 0
    for number in range(TRIALS):
        x = search.suggest(str(number))["x"]
        if x > CLIFF:  # as Ray tells a trial whose training raised an error
            search.on_trial_complete(str(number), error=True)
            wasted += 1
        else:
            search.on_trial_complete(str(number), {"score": x, "training_iteration": 1})
    return wasted


if __name__ == "__main__":
    main()
