"""Images of classes that were left out of training: are they told apart, and at which cost?

    python -m tests.benchmarks.bundle.unknowns RUN... --others FOLDER --test FOLDER

Each RUN was trained without the classes in FOLDER; a bundle is made of it, and for several numbers
of neighbours k the AUROC of the distance to the k-th one (unknown against known test images) and
the share of known test images above the threshold are printed, for several rates that were asked.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from supcon.__main__ import main as supcon
from supcon.bundle.gallery import HELD_OUT, Gallery
from supcon.bundle.model import load
from supcon.bundle.nearest import distance
from supcon.intake.inputs import Inputs
from supcon.reliability.unknown import threshold_for

NEIGHBOURS = (1, 2, 5, 10, 20, 50)
RATES = (0.01, 0.05, 0.1)


def main() -> None:
    """Print a table over the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--others", type=Path, required=True, help="images of unknown classes")
    parser.add_argument("--test", type=Path, required=True, help="images of known classes")
    options = parser.parse_args()
    found: dict[int, list[list[float]]] = {k: [] for k in NEIGHBOURS}
    for run in options.runs:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "model"
            assert supcon(["bundle", str(run), "--out", str(out)]) == 0
            model = load(out, "cpu")
            val = torch.from_numpy(Gallery.load(out / HELD_OUT).embeddings)
        known, unknown = (
            torch.from_numpy(model.embed([*Inputs([images])]))
            for images in (options.test, options.others)
        )
        near = [model.search(x, max(NEIGHBOURS)) for x in (val, known, unknown)]
        for k in NEIGHBOURS:
            of_val, of_known, of_unknown = (distance(each, k).double().numpy() for each in near)
            is_unknown = np.repeat([0, 1], [len(of_known), len(of_unknown)])
            area = roc_auc_score(is_unknown, np.concatenate([of_known, of_unknown]))
            row = [float(area)]
            for rate in RATES:
                limit = threshold_for(of_val, rate)
                assert limit is not None or rate < 1 / (len(of_val) + 1)
                limit = np.inf if limit is None else limit
                row += [float((of_known > limit).mean()), float((of_unknown > limit).mean())]
            found[k].append(row)
    heads = [f"false alarms at {r:.0%} | found" for r in RATES]
    print(f"| k | AUROC | {' | '.join(heads)} |\n|{'---|' * (2 + 2 * len(RATES))}")
    for k, rows in found.items():
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        print(f"| {k} | {means[0]:.4f} | {' | '.join(f'{100 * m:.1f} %' for m in means[1:])} |")


if __name__ == "__main__":
    main()
