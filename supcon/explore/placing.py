"""Where images lie on the map of their embeddings: to look at, not to conclude from.

Distances between clusters and their sizes mean little in such a picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from supcon.evaluation.plane import NAMES, Method, NotDrawn, flatten
from supcon.explore.judging import NotJudged
from supcon.explore.looking import Ids
from supcon.parsing import UserError

GRID = 10_000  # places are whole numbers up to it
SECONDS = 0.005  # for each image: half of the 20 CPU s that 3,000 took, of the 75 of 10,000


def check(method: Method) -> None:
    """Whether the method is there.

    Raises:
        UserError: umap-learn is not installed.
    """
    if method == "umap" and find_spec("umap") is None:
        raise UserError(
            "--map umap: needs umap-learn; install it with: pip install umap-learn, or take "
            "--map tsne"
        )


def places(features: Tensor, method: Method, seed: int, say: Callable[[str], None]) -> Ids:
    """(N, 2) in 0 to `GRID`, the longer side filled.

    Args:
        features: (N, D), compared by direction, as kNN does.
        method: t-SNE or UMAP.
        seed: of the method.
        say: is told what it takes.

    Raises:
        NotJudged: they cannot be drawn, and why.
    """
    name, began = NAMES[method], time.monotonic()
    forecast = _forecast(len(features)) if method == "tsne" else ""
    say(f"{name} of {len(features):,} images{forecast} ...")
    try:
        found = flatten(F.normalize(features.float(), dim=1).cpu().numpy(), seed, method=method)
    except NotDrawn as error:
        raise NotJudged(str(error)) from None
    say(f"{name} took {time.monotonic() - began:.0f} s")
    low, extent = found.min(0), np.ptp(found, axis=0)
    span = float(extent.max()) or 1.0
    centred = (found - low - extent / 2) / span + 0.5
    return (centred * GRID).round().astype(np.int64)


def _forecast(n: int) -> str:
    seconds = max(5, round(n * SECONDS))
    return f", about {seconds} s on two cores"
