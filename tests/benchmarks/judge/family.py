"""How often the verdict on three arms errs: two of them against a baseline, judged together.

    python -m tests.benchmarks.judge.family                   # two minutes on 1 CPU core
    python -m tests.benchmarks.judge.family --studies 4000    # the table of results/calibration.md

Studies are those of `tests.benchmarks.calibration`, with a third arm. The table is Markdown, the
last line is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from search.judge.comparison import compare
from search.judge.difference import Difference, holm
from tests.benchmarks.calibration import (
    ALIKE,
    Cell,
    draw_arms,
    equal_cells,
    options_of,
    percent,
    print_header,
)

HEADER = (
    "| n | N | noise | false alarms | without Holm | different | without Holm | detectable | power "
    "| coverage | both differ |"
)

Family = list[Difference]


@dataclass(frozen=True)
class Row:
    """What studies of a cell showed; shares of studies, and accuracy as a fraction of 1."""

    cell: Cell
    false_alarms: float
    """All arms are the same configuration, and one is said to differ from the baseline."""
    false_alarms_alone: float
    """In the same studies, if each comparison is judged by itself."""
    different: float
    """Likewise where they differ image by image, but not in accuracy over all images."""
    different_alone: float
    detectable: float
    """Median of what studies of the same arms state."""
    power: float
    """One arm truly differs by that from the others, and that is shown."""
    coverage: float
    """Both intervals hold the true differences, where the arms are different and equally good."""
    coverage_of_two: float
    """Likewise where both arms truly differ from the baseline by twice the detectable."""


def main() -> None:
    """Run, print a table and a line of JSON."""
    options = options_of("tests.benchmarks.judge.family")
    print_header(HEADER)
    cells = equal_cells(options.accuracy)
    rows = []
    for number, cell in enumerate(cells):
        rng = np.random.default_rng([options.seed, 200 + number])
        rows.append(simulate(cell, options.studies, rng))
        print(markdown(rows[-1], options.studies), flush=True)
    print("\n" + json.dumps([*map(asdict, rows)]))


def simulate(cell: Cell, studies: int, rng: np.random.Generator) -> Row:
    """So many studies of each of four kinds: the same arms, different ones, one better, two."""
    p = cell.accuracy
    same = [_alone(cell, rng, (p, p, p)) for _ in range(studies)]
    other = [_alone(cell, rng, (p, p, p), ALIKE) for _ in range(studies)]
    detectable = float(np.median([holm(alone, 2)[0].smallest for alone in same]))
    low, high = p - detectable / 2, p + detectable / 2
    one = [holm(_alone(cell, rng, (high, low, low)), 2) for _ in range(studies)]
    apart = min(2 * detectable, 1.9 * (1 - p))
    low, high = p - apart / 2, p + apart / 2
    two = [holm(_alone(cell, rng, (high, high, low)), 2) for _ in range(studies)]
    return Row(
        cell,
        _share([_claims(holm(alone, 2)) for alone in same]),
        _share([_claims(alone) for alone in same]),
        _share([_claims(holm(alone, 2)) for alone in other]),
        _share([_claims(alone) for alone in other]),
        detectable,
        _share([found[0].is_shown and found[0].difference > 0 for found in one]),
        _share([_cover(holm(alone, 2), (0.0, 0.0)) for alone in other]),
        _share([_cover(found, (apart, apart)) for found in two]),
    )


def _alone(
    cell: Cell, rng: np.random.Generator, accuracies: tuple[float, ...], alike: float = 1.0
) -> Family:
    """Each arm of a study but the last against that, by itself."""
    *others, baseline = draw_arms(cell, rng, accuracies, alike)
    return [compare(each, baseline) for each in others]


def _claims(found: Family) -> bool:
    return any(each.is_shown for each in found)


def _cover(found: Family, truth: Sequence[float]) -> bool:
    """Whether every interval holds the true difference."""
    pairs = zip(found, truth, strict=True)
    return all(each.interval[0] <= true <= each.interval[1] for each, true in pairs)


def _share(found: list[bool]) -> float:
    return sum(found) / len(found)


def markdown(row: Row, studies: int) -> str:
    """A line of the table; shares in %, with the 95 % interval that so many studies leave."""
    alarms = row.false_alarms, row.false_alarms_alone, row.different, row.different_alone
    shares = [percent(share, studies) for share in alarms]
    held = [percent(s, studies) for s in (row.power, row.coverage, row.coverage_of_two)]
    cell = row.cell
    columns = [cell.n_seeds, cell.n_images, cell.noise, *shares, f"{100 * row.detectable:.2f}"]
    return "| " + " | ".join(map(str, [*columns, *held])) + " |"


if __name__ == "__main__":
    main()
