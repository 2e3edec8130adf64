"""How much cheaper than random search the search is, and others would be.

    python -m tests.benchmarks.efficiency spaces/digits.yaml results/curves/digits.csv
    python -m tests.benchmarks.efficiency ... --records-alone      # a check: real curves only

Each method searches worlds that are fitted to recorded learning curves (`surrogate.py`), by the
product's own suggester, rungs, budget and order, over a simulated clock; repetition n of all
methods has the same study seed, so that they are paired. The table is Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from search.space.loading import TEXT_KEYS, load_space
from search.space.space import Space
from supcon.parsing import parse_assignment
from tests.benchmarks.efficiency.figure import draw
from tests.benchmarks.efficiency.methods import METHODS, Method
from tests.benchmarks.efficiency.recorded import read_records
from tests.benchmarks.efficiency.restricted import Restricted, restricted
from tests.benchmarks.efficiency.scored import anytime
from tests.benchmarks.efficiency.simulated import simulate
from tests.benchmarks.efficiency.surrogate import World, held_out
from tests.benchmarks.efficiency.table import Anytime, header, row

BUDGETS = (3, 5, 10, 20, 50)
PLANNED = (1, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 14, 20, 30, 50)
"""Budgets of methods that plan for one."""


def main() -> None:
    """Print what the worlds are worth, then a table."""
    options = options_of()
    changes = dict(parse_assignment(text, TEXT_KEYS) for text in options.set)
    worlds: Mapping[str, World] = worlds_of(options.record, load_space(options.space, changes))
    for arm, world in worlds.items():
        fit = held_out(world)
        print(
            f"{arm}: {fit.runs} runs of {fit.configurations} configurations; error on held-out "
            f"ones {fit.error:.2f} points (all scores {fit.spread:.2f}, seeds {fit.noise:.2f}), "
            f"Kendall's tau {fit.tau:.2f}; best {100 * world.best:.2f} %, "
            f"mean {100 * world.blind:.2f} %"
        )
    chosen = [m for m in METHODS if not options.only or m.name in {"random", *options.only}]
    found, budgets = dict[str, Anytime](), [b for b in BUDGETS if b <= options.most]
    if options.records_alone:
        alone = {arm: Restricted(world) for arm, world in worlds.items()}
        worlds, chosen = alone, [replace(m, order=restricted(m.order, alone)) for m in chosen]
    print(header(budgets), flush=True)
    for method in chosen:
        spaces = [
            load_space(options.space, {"points": {}} | changes | dict(method.changes) | {"seed": n})
            for n in range(options.repetitions)
        ]
        found[method.name] = explore(method, spaces, worlds, options.workers, options.most)
        print(row(method.name, found[method.name], found["random"], budgets), flush=True)
    if options.figure:
        draw(found, f"{options.record.stem}, {options.workers} at once", options.figure)


def options_of() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", type=Path)
    parser.add_argument("record", type=Path, help="what tests.benchmarks.record wrote of it")
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1, help="trials at once")
    parser.add_argument("--most", type=int, default=50, choices=BUDGETS, help="full trials an arm")
    parser.add_argument("--records-alone", action="store_true", help="draw nothing else")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="these, and random search")
    parser.add_argument("--figure", type=Path, help="SVG of the regret at every cost")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def worlds_of(record: Path, space: Space) -> dict[str, World]:
    """Arm -> its world."""
    records = read_records(record, space)
    return {arm: World(records[arm], space.arm_params(arm)) for arm in space.arms}


def explore(
    method: Method, spaces: list[Space], worlds: Mapping[str, World], workers: int, most: int
) -> Anytime:
    """Search each space, and see what was found at which cost."""
    budgets = [b for b in PLANNED if b <= most] if method.fits_budget else [most]
    every = [n / 4 for n in range(1, 4 * most + 1)]
    grid = [float(b) for b in budgets] if method.fits_budget else every
    regret = np.empty((len(spaces), len(grid)))
    for i, space in enumerate(spaces):
        found = []
        for budget in budgets:
            epochs = round(method.handicap * budget * space.config.run.epochs)
            limited = space.model_copy(
                update={"budget": space.budget.model_copy(update={"total_epochs": epochs})}
            )
            study = simulate(limited, worlds, method.order, method.decide, workers)
            paid = [float(budget)] if method.fits_budget else grid
            costs = [method.handicap * cost for cost in paid]
            found.append([worlds[a].best - anytime(study, a, worlds[a], costs) for a in study.arms])
        regret[i] = 100 * np.mean(np.concatenate(found, axis=1), axis=0)
    return Anytime(np.array(grid), regret)


if __name__ == "__main__":
    main()
