"""How often further questions err: simulated studies of two arms that are equally good.

    python -m tests.benchmarks.judge.further                   # on one core, an hour
    python -m tests.benchmarks.judge.further --studies 100     # a look

A run's logits of an image of class y are `scale (margin [k = y] + IMAGE image + CLASS seed +
draw)`, all standard normal: images and classes have difficulties of their own, a seed shifts
classes and how sure it is (`scale`), and each run draws each image anew. Corrupted images have less
margin, unknown ones have none. Neighbours' distances are such sums of their own. Temperatures are
fitted on as many images of val as of test. Test images are fresh in each study. `same`: images are
as hard to both arms; `different`: their difficulties correlate by 0.8, and the arms are equally
good over all images. The table is Markdown, the last line is JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch

from search.further.blocks import MOST, deal
from search.further.jackknife import pseudo_values
from search.further.measures import ASKED
from search.judge.comparison import compare_values
from search.judge.difference import Difference, holm
from supcon.images.split import Split
from supcon.reliability.calibration import fit_temperature
from supcon.reliability.examination import known_measures, share_measures, unknown_measures
from supcon.reliability.unknown import doubt, energy
from tests.benchmarks.calibration import ALIKE, options_of, percent, print_header

CLASSES = 10
IMAGE, CLASS = 1.5, 0.3
"""Standard deviations of difficulties, where that of a draw is 1."""
SURE = 0.15
"""Of the log of a seed's scale."""
MARGIN, CORRUPTED_MARGIN = 4.5, 3.0
APART = 1.0
"""By how much unknown images lie farther from their neighbours, where a draw's deviation is 1."""
HEADER = "| n | N | arms | " + " | ".join(each.label for each in ASKED) + " | any, Holm |"

Floats = npt.NDArray[np.float64]
Arm = list[dict[str, list[float]]]
"""For each seed each measure, on all images and without each block."""


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    n_seeds: int
    n_images: int
    alike: float
    """Correlation of the images' difficulties between the arms."""


@dataclass(frozen=True)
class Row:
    """What studies of a cell showed: shares of false alarms."""

    cell: Cell
    alone: dict[str, float]
    """Of each question, judged by itself at 5 %."""
    family: float
    """Of any of them, judged together."""


def main() -> None:
    """Run, print a table and a line of JSON."""
    torch.set_num_threads(1)
    options = options_of("tests.benchmarks.judge.further")
    print_header(HEADER)
    cells = [Cell(n, N, alike) for n in (3, 5) for N in (360, 1000) for alike in (1.0, ALIKE)]
    rows = []
    for number, cell in enumerate(cells):
        rng = np.random.default_rng([options.seed, 300 + number])
        rows.append(simulate(cell, options.studies, rng))
        print(markdown(rows[-1], options.studies), flush=True)
    print("\n" + json.dumps([*map(asdict, rows)]))


def simulate(cell: Cell, studies: int, rng: np.random.Generator) -> Row:
    """So many studies."""
    found = [differences(*study(cell, rng)) for _ in range(studies)]
    alone = {m.name: _share([each[m.name].is_shown for each in found]) for m in ASKED}
    judged = [holm([*each.values()], len(each)) for each in found]
    return Row(cell, alone, _share([any(d.is_shown for d in each) for each in judged]))


def differences(a: Arm, b: Arm) -> dict[str, Difference]:
    """Each question, judged by itself."""
    found = {}
    for name in (measure.name for measure in ASKED):
        ours, theirs = (np.stack([pseudo_values(seed[name]) for seed in arm]) for arm in (a, b))
        found[name] = compare_values(ours, theirs)
    return found


@dataclass(frozen=True)
class _Images:
    """How hard images are to an arm."""

    logits: Floats
    """(N, K)."""
    worse: Floats
    """(N, K), corrupted."""
    distance: Floats
    """(N,) to neighbours."""


def study(cell: Cell, rng: np.random.Generator) -> tuple[Arm, Arm]:
    """Both arms of a study."""
    n, labels = cell.n_images, np.arange(cell.n_images) % CLASSES
    test = Split(np.zeros((n, 1, 1, 1), np.uint8), labels)
    n_blocks = min(MOST, n)
    blocks = deal(test, n_blocks), deal(test, n_blocks, by_class=False)
    known, new = ([*_difficulties(n, cell.alike, rng)] for _ in range(2))
    a, b = ([_run(*own, labels, blocks, rng) for _ in range(cell.n_seeds)]
            for own in zip(known, new, strict=True))  # fmt: skip
    return a, b


def _difficulties(n: int, alike: float, rng: np.random.Generator) -> Iterator[_Images]:
    """Of each of two arms."""
    shapes = (n, CLASSES), (n, CLASSES), (n,)
    shared = [rng.standard_normal(shape) for shape in shapes]
    for _ in range(2):
        own = [rng.standard_normal(shape) for shape in shapes]
        pairs = zip(shared, own, strict=True)
        yield _Images(*(math.sqrt(alike) * s + math.sqrt(1 - alike) * o for s, o in pairs))


def _run(
    known: _Images,
    new: _Images,
    labels: npt.NDArray[np.int64],
    blocks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    rng: np.random.Generator,
) -> dict[str, list[float]]:
    """Every measure of one seed."""
    scale, classes = math.exp(SURE * rng.standard_normal()), CLASS * rng.standard_normal(CLASSES)
    right = np.eye(CLASSES)[labels]

    def logits(hard: Floats, margin: float) -> torch.Tensor:
        drawn = rng.standard_normal(hard.shape)
        return torch.from_numpy(scale * (margin * right + IMAGE * hard + classes + drawn))

    val = logits(rng.standard_normal(known.logits.shape), MARGIN)
    temperature = fit_temperature(val, torch.from_numpy(labels))
    own, unknown = logits(known.logits, MARGIN), logits(new.logits, 0.0)
    found = known_measures(own, labels, temperature, blocks[0])
    worse = logits(known.worse, CORRUPTED_MARGIN).argmax(1).numpy() == labels
    found |= share_measures({"corrupted_top1": worse.astype(float)}, blocks[0], blocks[0].max() + 1)
    for name, score in (("energy", energy), ("softmax", doubt)):
        found |= unknown_measures(name, score(own), score(unknown), *blocks)
    shift = CLASS * rng.standard_normal()  # of how far unknown images lie
    near, far = (torch.from_numpy(x.distance + rng.standard_normal(len(labels)))
                 for x in (known, new))  # fmt: skip
    return found | unknown_measures("knn", near, far + APART + shift, *blocks)


def _share(found: list[bool]) -> float:
    return sum(found) / len(found)


def markdown(row: Row, studies: int) -> str:
    """A line of the table; shares in %, with the 95 % interval that so many studies leave."""
    cell = row.cell
    arms = "same" if cell.alike == 1 else "different"
    shares = [percent(share, studies) for share in (*row.alone.values(), row.family)]
    return "| " + " | ".join(map(str, [cell.n_seeds, cell.n_images, arms, *shares])) + " |"


if __name__ == "__main__":
    main()
