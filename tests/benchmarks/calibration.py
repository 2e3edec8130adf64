"""How often the verdict errs: simulated studies whose truth is known.

    python -m tests.benchmarks.calibration                   # half a minute on 1 CPU core
    python -m tests.benchmarks.calibration --studies 4000    # the table of results/calibration.md

A run is right on an image if `level + HARDNESS * image + shift * seed + draw > 0`, with image, seed
and draw standard normal: images differ in difficulty, a seed shifts all of them, and each run
draws each image anew. A configuration's accuracy over the population of images and seeds is then
known exactly. Test images are fresh in each study. In the last two rows of the first table classes
are unequal, the rarer ones harder, and balanced accuracies are compared. The tables are Markdown,
the last line is JSON.

In the second table images come in groups, half of whose difficulty the images of a group share.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import warnings
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy
from scipy import optimize, stats

from search.judge.comparison import compare, detectable_with
from search.judge.difference import Difference
from search.judge.sentence import sentence

HARDNESS = 2.0
"""Standard deviation of an image's difficulty, where that of a draw is 1."""
ALIKE = 0.8
"""Correlation of the images' difficulties between two configurations that differ."""
NOISES = {"seeds": 3.0, "images": 0.1}
"""Standard deviation of accuracy over seeds, as a multiple of sqrt(p (1 - p) / N)."""
WITHIN = 0.5
"""Share of an image's difficulty that is its group's, where images come in groups."""
SIZES = (180, 90, 45, 25, 12, 8)
"""Images of unequal classes."""
HARDER = 0.5
"""By how much images of a class are harder than those of the next larger one."""
HEADER = "| n | N | noise | false alarms | detectable | planned | power | different | Welch |"
GROUPED_HEADER = "| n | groups | sizes | false alarms | detectable | different | by images |"
GROUPINGS = {
    "20 of 18": [18] * 20,
    "60 of 6": [6] * 60,
    "60 of 1 to 19": [1, 2, 3, 4, 5, 6, 7, 8, 9, 19] * 6,
    "20 of 1 to 100": [100, 50, 40, 30, 20, 20, 15, 15, 10, 10, 9, 8, 7, 6, 6, 5, 3, 3, 2, 1],
}
"""Sizes of groups of 360 images."""

Correct = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    n_seeds: int
    n_images: int
    noise: str
    accuracy: float
    """Balanced accuracy, where classes are unequal."""
    sizes: tuple[int, ...] = ()
    """Images of each class, where they are."""

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """Classes of the images, where it matters."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes) if self.sizes else None

    @property
    def shift(self) -> float:
        """Standard deviation of a seed's shift; by the slope of accuracy in the level."""
        normal, spread = stats.norm, math.hypot(1, HARDNESS)
        binomial = math.sqrt(self.accuracy * (1 - self.accuracy) / self.n_images)
        slope = float(normal.pdf(normal.ppf(self.accuracy))) / spread
        return NOISES[self.noise] * binomial / slope

    def level(self, accuracy: float) -> float:
        """The level that has this accuracy over all images and seeds."""
        spread = math.hypot(1, HARDNESS, self.shift)
        if not self.sizes:
            return float(stats.norm.ppf(accuracy)) * spread
        harder = HARDER * np.arange(len(self.sizes))

        def too_high(level: float) -> float:
            return float(stats.norm.cdf((level - harder) / spread).mean()) - accuracy

        return float(optimize.brentq(too_high, -50, 50))


@dataclass(frozen=True)
class Row:
    """What studies of a cell showed; shares of studies, and accuracy as a fraction of 1."""

    cell: Cell
    false_alarms: float
    """Both arms are the same configuration."""
    detectable: float
    """Median of the smallest detectable differences that these studies state."""
    planned: float
    """Median of what `detectable_with` expects instead, from 2 seeds an arm on other images."""
    power: float | None
    """Arms that truly differ by that; None if no two accuracies do."""
    different: float
    """Alarms where the arms differ image by image, but not in accuracy over all images."""
    different_welch: float
    """In the same studies, Welch's t-test of the seeds' accuracies alone."""


def options_of(module: str) -> argparse.Namespace:
    """What the command line says of simulated studies; it is printed, with versions."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--studies", type=int, default=1000, help="of each setting")
    parser.add_argument("--accuracy", type=float, default=0.8, help="of all configurations")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    command = f"python -m {module} --studies {options.studies}"
    print(f"{command} --accuracy {options.accuracy} --seed {options.seed}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    return options


def print_header(header: str) -> None:
    """Of a table in Markdown."""
    print(f"\n{header}\n{'|---' * (header.count('|') - 1)}|")


def equal_cells(accuracy: float) -> list[Cell]:
    """Settings with classes of one size."""
    return [
        Cell(n, images, noise, accuracy)
        for n in (3, 5)
        for images in (360, 5000)
        for noise in NOISES
    ]


def main() -> None:
    """Run, print a table and a line of JSON."""
    options = options_of("tests.benchmarks.calibration")
    print_header(HEADER)
    cells = equal_cells(options.accuracy)
    cells += [Cell(5, sum(SIZES), noise, options.accuracy, SIZES) for noise in NOISES]
    rows = []
    for number, cell in enumerate(cells):
        row = simulate(cell, options.studies, np.random.default_rng([options.seed, number]))
        print(markdown(row, options.studies), flush=True)
        rows.append(row)
    print_header(GROUPED_HEADER)
    grouped = []
    for number, (n_seeds, sizes) in enumerate((n, sizes) for n in (3, 5) for sizes in GROUPINGS):
        rng = np.random.default_rng([options.seed, 100 + number])
        found = simulate_groups(n_seeds, sizes, options.accuracy, options.studies, rng)
        print(grouped_markdown(found, options.studies), flush=True)
        grouped.append(found)
    print("\n" + json.dumps([*map(asdict, rows), *map(asdict, grouped)]))


def simulate(cell: Cell, studies: int, rng: np.random.Generator) -> Row:
    """So many studies of each of three kinds: the same arms, a true difference, different arms."""
    p, labels = cell.accuracy, cell.labels
    same = [compare(*draw(cell, rng), labels=labels) for _ in range(studies)]
    detectable = float(np.median([d.detectable for d in same]))
    pairs = (draw(replace(cell, n_seeds=2), rng) for _ in range(studies))
    planned = cell.n_seeds, cell.n_images
    expected = np.median([detectable_with(*pair, *planned, labels=labels) for pair in pairs])
    power = None
    if p + detectable / 2 < 1:
        accuracies = p + detectable / 2, p - detectable / 2
        truly = (compare(*draw(cell, rng, accuracies), labels=labels) for _ in range(studies))
        power = _share([alarms(d) for d in truly])
    ours, welch = [], []
    for _ in range(studies):
        a, b = draw(cell, rng, alike=ALIKE)
        ours.append(alarms(compare(a, b, labels=labels)))
        with warnings.catch_warnings():  # if all seeds score the same, scipy warns
            warnings.simplefilter("ignore", RuntimeWarning)
            found = stats.ttest_ind(_scores(cell, a), _scores(cell, b), equal_var=False)
            welch.append(bool(found.pvalue < 0.05))
    false_alarms = _share([alarms(d) for d in same])
    return Row(cell, false_alarms, detectable, float(expected), power, _share(ours), _share(welch))


def _scores(cell: Cell, arm: Correct) -> npt.NDArray[np.float64]:
    """Accuracy of each seed, or its balanced accuracy."""
    if not cell.sizes:
        return arm.mean(1)
    parts = np.split(arm, np.cumsum(cell.sizes)[:-1], axis=1)
    return np.mean([part.mean(1) for part in parts], axis=0)


@dataclass(frozen=True)
class GroupedRow:
    """What studies whose test images come in groups showed; shares of studies."""

    n_seeds: int
    sizes: str
    false_alarms: float
    """Both arms are the same configuration."""
    detectable: float
    """Median of what these studies state."""
    different: float
    """Alarms where the arms differ group by group and image by image, but not in accuracy."""
    by_images: float
    """In the same studies, if each image is taken for evidence of its own."""


def simulate_groups(
    n_seeds: int, sizes: str, accuracy: float, studies: int, rng: np.random.Generator
) -> GroupedRow:
    """So many studies of two kinds, noise by images: the same arms, different arms."""
    groups = np.repeat(np.arange(len(GROUPINGS[sizes])), GROUPINGS[sizes])
    cell = Cell(n_seeds, len(groups), "images", accuracy)
    same = [compare(*draw(cell, rng, groups=groups), groups) for _ in range(studies)]
    ours, by_images = [], []
    for _ in range(studies):
        arms = draw(cell, rng, alike=ALIKE, groups=groups)
        ours.append(alarms(compare(*arms, groups)))
        by_images.append(alarms(compare(*arms)))
    return GroupedRow(
        n_seeds,
        sizes,
        _share([alarms(d) for d in same]),
        float(np.median([d.detectable for d in same])),
        _share(ours),
        _share(by_images),
    )


def alarms(difference: Difference) -> bool:
    """Whether the sentence claims a difference."""
    return "beats" in sentence("A", "B", difference, None)


def draw(
    cell: Cell,
    rng: np.random.Generator,
    accuracies: tuple[float, float] | None = None,
    alike: float = 1.0,
    groups: npt.NDArray[np.int64] | None = None,
) -> tuple[Correct, Correct]:
    """One study of two arms, as `draw_arms`."""
    a, b = draw_arms(cell, rng, accuracies or (cell.accuracy, cell.accuracy), alike, groups)
    return a, b


def draw_arms(
    cell: Cell,
    rng: np.random.Generator,
    accuracies: tuple[float, ...],
    alike: float = 1.0,
    groups: npt.NDArray[np.int64] | None = None,
) -> list[Correct]:
    """One study: which of its fresh test images each seed of each arm classifies correctly."""

    def difficulty() -> npt.NDArray[np.float32]:
        each = rng.standard_normal(cell.n_images, np.float32)
        if groups is None:
            return each
        of_group = rng.standard_normal(groups.max() + 1, np.float32)[groups]
        return math.sqrt(WITHIN) * of_group + math.sqrt(1 - WITHIN) * each

    shared = difficulty()
    harder = np.float32(0) if cell.labels is None else (HARDER * cell.labels).astype(np.float32)
    arms = []
    for accuracy in accuracies:
        own = difficulty()
        images = HARDNESS * (math.sqrt(alike) * shared + math.sqrt(1 - alike) * own)
        seeds = cell.level(accuracy) + cell.shift * rng.standard_normal((cell.n_seeds, 1))
        draws = rng.standard_normal((cell.n_seeds, cell.n_images), np.float32)
        arms.append(draws > harder - images - seeds.astype(np.float32))
    return arms


def _share(found: list[bool]) -> float:
    return sum(found) / len(found)


def markdown(row: Row, studies: int) -> str:
    """A line of the table; shares in %, with the 95 % interval that so many studies leave."""
    power = "-" if row.power is None else percent(row.power, studies)
    alarm, ours, welch = (
        percent(share, studies) for share in (row.false_alarms, row.different, row.different_welch)
    )
    cell, stated, plan = row.cell, f"{100 * row.detectable:.2f}", f"{100 * row.planned:.2f}"
    n_images = f"{cell.n_images}, unequal" if cell.sizes else str(cell.n_images)
    columns = [cell.n_seeds, n_images, cell.noise, alarm, stated, plan, power, ours, welch]
    return "| " + " | ".join(map(str, columns)) + " |"


def grouped_markdown(row: GroupedRow, studies: int) -> str:
    """A line of the second table, likewise."""
    alarm, ours, images = (
        percent(share, studies) for share in (row.false_alarms, row.different, row.by_images)
    )
    n_groups, of = row.sizes.split(" of ")
    columns = [row.n_seeds, n_groups, of, alarm, f"{100 * row.detectable:.2f}", ours, images]
    return "| " + " | ".join(map(str, columns)) + " |"


def percent(share: float, studies: int) -> str:
    """A share in %, with the 95 % interval that so many studies leave."""
    test = stats.binomtest(round(share * studies), studies)
    low, high = (100 * bound for bound in test.proportion_ci(method="wilson"))
    return f"{100 * share:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
