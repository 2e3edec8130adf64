"""t-SNE pictures of embeddings (van der Maaten and Hinton 2008): to look at, not to conclude from.

Distances between clusters and their sizes mean little in such a picture; the metrics say more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps, rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from torch import Tensor

from supcon.config import Config
from supcon.evaluation.lettering import families_for, quiet_about_glyphs
from supcon.evaluation.plane import NotDrawn, flatten
from supcon.evaluation.trained import Trained, embed_with
from supcon.images.split import Splits
from supcon.network.models import by_head


@dataclass(frozen=True)
class Panel:
    """One of the pictures in the figure."""

    title: str
    embeddings: Tensor
    """(N, D)."""
    labels: Tensor
    """(N,) class ids."""


def panels_of(trained: Trained, config: Config, data: Splits, images: int) -> list[Panel]:
    """Train and val before and after the head.

    Args:
        trained: the run's result.
        config: its config.
        data: train and val.
        images: at most so many of each, evenly picked.

    Returns:
        Four panels: train before and after the head, then val.
    """
    panels = []
    for name, split in (("train", data.train), ("val", data.val)):
        some = split.take(np.linspace(0, len(split) - 1, min(images, len(split))).astype(np.intp))
        embedded = embed_with(trained, config, some.images)
        labels = torch.tensor(some.labels)
        panels.append(Panel(f"{name}, before the head", embedded.features, labels))
        projections, logits = by_head(embedded.outputs, config)
        after = projections if config.has_projection else logits
        panels.append(Panel(f"{name}, after the head", after, labels))
    return panels


def draw_tsne(panels: Sequence[Panel], classes: Sequence[str], seed: int, path: Path) -> str:
    """Write a PNG with the panels in two columns.

    Args:
        panels: each embedded by itself, by direction (normalised first, as kNN sees it).
        classes: names for the legend, which is left out beyond 20; shown as they are.
        seed: of t-SNE.
        path: of the PNG.

    Returns:
        Characters of the legend that no font here has: the PNG has boxes for them, and an SVG is
        written beside it, whose text whoever looks at it draws. Empty if there are none.
    """
    figure = Figure(figsize=(12, 6 * ((len(panels) + 1) // 2)), layout="constrained")
    grid = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False)
    colours = _colours(len(classes))
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set(title=panel.title, xticks=[], yticks=[])
        try:
            points = flatten_to_plane(panel.embeddings, seed)
        except NotDrawn as error:
            reason = f"not drawn: {error}"
            axes.text(0.5, 0.5, reason, ha="center", transform=axes.transAxes, parse_math=False)
            points = np.full((len(panel.labels), 2), np.nan, dtype=np.float32)
        for label in range(len(classes)):
            chosen = points[panel.labels.cpu().numpy() == label]
            axes.scatter(*chosen.T, s=6, color=colours[label])
    lacking = _add_legend(figure, grid[0, 0].collections, classes) if len(classes) <= 20 else ""
    with quiet_about_glyphs(), rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, dpi=100)
        if lacking:
            figure.savefig(path.with_suffix(".svg"))
    return lacking


def _add_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> str:
    """The names of classes below the panels; returns the characters that no font here has."""
    families, lacking = families_for(names)
    columns = max(1, min(10, 130 // (5 + max(map(len, names)))))
    legend = figure.legend(
        handles, [str(i) for i in range(len(names))], loc="outside lower center", ncols=columns,
        markerscale=3, prop={"family": families},
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        # Only now: given as a label, `_name` would be left out and `$x$` be read as a formula.
        text.set(parse_math=False, text=name)
    return lacking


def flatten_to_plane(
    embeddings: Tensor, seed: int, seconds: float | None = None
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """t-SNE of (N, D) embeddings by direction, normalised first, as kNN sees them.

    All else, errors included, is as in `supcon.evaluation.plane.flatten`.
    """
    return flatten(F.normalize(embeddings.float(), dim=1).cpu().numpy(), seed, seconds)


def _colours(n: int) -> Sequence[object]:
    table = colormaps["tab10" if n <= 10 else "tab20" if n <= 20 else "hsv"]
    return [table(i if n <= 20 else i / n) for i in range(n)]
