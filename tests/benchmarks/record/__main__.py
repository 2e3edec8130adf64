"""Learning curves of random configurations of a space, trained to the end: what a search could see.

    python -m tests.benchmarks.record spaces/digits.yaml --out results/curves/digits.csv \
        --trials 400 --repeated 60

Configurations are those that a search with `sampler: random` draws, each trained to the end on one
thread and scored after many epochs. One run after the other, each a row of the file as soon as it
is over; started again, it goes on with those that are missing, so that it fills idle hours. Two
processes may fill two files (`--part 1/2`).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.log.surroundings import commit
from search.space.loading import TEXT_KEYS, load_space
from search.space.space import Space
from search.strategy.sampler import Suggester
from supcon.config import override
from supcon.images.loading import load_splits
from supcon.images.split import Splits
from supcon.parsing import parse_assignment
from supcon.seeds import derive_seed
from supcon.train import Diverged, fit
from tests.benchmarks.efficiency.simulated import begun

KEPT = ("val/probe_top1", "val/knn_top1", "val/head_top1")
GROWTH = 1.4  # from one scored epoch to the next


@dataclass(frozen=True)
class Curve:
    """A configuration with a seed, to be trained."""

    arm: str
    number: int
    repeat: int
    """0 for the seed that a search gives it, then further ones."""
    params: dict[str, Any]
    seed: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others in a file."""
        return self.arm, str(self.number), str(self.repeat)


def scored_after(epochs: int) -> tuple[int, ...]:
    """Epochs that are scored: 1, 2, 3, and then about `GROWTH` apart; the last is `epochs`."""
    found, next_one = [1], 2.0
    while round(next_one) < epochs:
        found.append(round(next_one))
        next_one = max(next_one + 1, next_one * GROWTH)
    return tuple(dict.fromkeys([*found, epochs]))


def curves(space: Space, trials: int, repeated: int, seeds: int) -> Iterator[Curve]:
    """What is to be recorded, the arms side by side. The first configurations of each arm have
    further seeds; these come evenly among the others, so that half a record has half of both.
    """
    suggesters = {arm: Suggester(begun(space), arm) for arm in space.arms}
    drawn = {(arm, n): each.suggest(n) for n in range(trials) for arm, each in suggesters.items()}
    places = [(n, 0) for n in range(trials)]
    places += [(n, repeat) for n in range(min(repeated, trials)) for repeat in range(1, seeds)]
    places.sort(key=lambda each: (each[0] * (trials / repeated if each[1] else 1), each[1]))
    for n, repeat in places:
        phase = "search" if repeat == 0 else f"repeat {repeat}"
        for arm in suggesters:
            seed = derive_seed(space.seed, arm, phase, n)
            yield Curve(arm, n, repeat, drawn[arm, n], seed)


def record(space: Space, curve: Curve, data: Splits) -> dict[str, Any]:
    """Train it to the end; its row, in which `epoch` -> scores and seconds are JSON."""
    at = scored_after(space.config.run.epochs)
    config = space.trial_config(curve.arm, curve.params, curve.seed)
    config = override(config, {"run.eval_at": list(at), "run.threads": 1})
    scores: dict[str, dict[int, float]] = {name: {} for name in KEPT}
    outcome, seconds, evaluation = "completed", dict[int, float](), 0.0
    try:
        for each in fit(config, data):
            if each.is_evaluated:
                seconds[each.epoch] = round(each.seconds, 2)
                evaluation = each.evaluation_seconds
                for name in KEPT:
                    if name in each.metrics:
                        scores[name][each.epoch] = round(each.metrics[name], 5)
    except Diverged:
        outcome = "diverged"
    row = {"arm": curve.arm, "number": curve.number, "repeat": curve.repeat, "seed": curve.seed}
    row |= {"outcome": outcome, "params": json.dumps(curve.params)}
    row |= {name.removeprefix("val/"): json.dumps(found) for name, found in scores.items()}
    known = {"seconds": json.dumps(seconds), "evaluation_seconds": round(evaluation, 2)}
    return row | known | {"commit": commit()}


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="CSV; what it has is not repeated")
    parser.add_argument("--trials", type=int, default=400, help="configurations an arm")
    parser.add_argument("--repeated", type=int, default=60, help="of these, on further seeds, too")
    parser.add_argument("--seeds", type=int, default=3, help="of those that are repeated")
    parser.add_argument("--part", default="1/1", help="k/n: each n-th of them, from the k-th on")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    whole = {"sampler": "random", "scheduler": "none", "points": {}}  # none is stopped
    changes = dict(parse_assignment(text, TEXT_KEYS) for text in options.set)
    space = load_space(options.space, whole | changes)
    data = load_splits(space.config.data)
    k, n = map(int, options.part.split("/"))
    wanted = [*curves(space, options.trials, options.repeated, options.seeds)][k - 1 :: n]
    done = set[tuple[str, str, str]]()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {(r["arm"], r["number"], r["repeat"]) for r in csv.DictReader(file)}
    for curve in wanted:
        if curve.key in done:
            continue
        row = record(space, curve, data)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        is_new = not options.out.exists()
        with options.out.open("a", newline="") as file:
            out = csv.DictWriter(file, row, lineterminator="\n")
            if is_new:
                out.writeheader()
            out.writerow(row)


if __name__ == "__main__":
    main()
