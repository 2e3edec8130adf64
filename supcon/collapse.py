"""What is said of a network whose features have collapsed; the numbers: evaluation/spread.py."""

from __future__ import annotations

from collections.abc import Mapping

GEOMETRY = ("alignment", "uniformity", "nc1", "nc2_norms", "nc2_angles")
SPREAD = (
    *("val/effective_rank", "val/collapsed", "val/collapsed_classes"),
    *(f"val/{name}" for name in GEOMETRY),
)
"""The metrics of val that are no shares of right answers: of the encoder features, and"""
PROJECTED = tuple(f"val/projection_{name}" for name in GEOMETRY)
"""of the projections."""


def describe_collapse(metrics: Mapping[str, float]) -> str:
    """A few words, if the features of val are equal where they should differ; else empty.

    Args:
        metrics: of an evaluation; older ones do not tell.
    """
    if metrics.get("val/collapsed"):
        return "all features equal"
    n = int(metrics.get("val/collapsed_classes", 0))
    return f"features equal within {n} {'class' if n == 1 else 'classes'}" if n else ""
