"""Anytime curves: what each method had left to find at each cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tests.benchmarks.efficiency.table import Anytime

COLOURS = 10
"""After which matplotlib begins anew."""


def draw(found: Mapping[str, Anytime], title: str, path: Path) -> None:
    """Median regret against cost, with the quartiles of random search; as SVG."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, each) in enumerate(found.items()):
        low, median, high = np.percentile(each.regret, [25, 50, 75], axis=0)
        shade = "0.45" if name == "random" else f"C{i - 1}"
        style = "-" if i <= COLOURS else "--"
        axes.step(each.costs, median, where="post", label=name, color=shade, linestyle=style)
        if name == "random":
            axes.fill_between(each.costs, low, high, step="post", alpha=0.15, color=shade, lw=0)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="cost, in full trials of an arm",
        ylabel="regret, points of accuracy",
        title=title,
    )
    axes.set_xticks(ticks := [1, 2, 3, 5, 10, 20, 50], [str(tick) for tick in ticks])
    axes.set_xlim(1, max(each.costs[-1] for each in found.values()))
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    axes.grid(which="major", alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
