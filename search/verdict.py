"""Does one arm beat the other? Statistics as pure functions on numbers.

D is the difference of two configurations' mean test accuracy. It is uncertain for two reasons: few
seeds and few test images. With n seeds an arm, N images, s2 the variance of accuracy over an arm's
seeds, g_i image i's difference of seed means and e an arm's mean within-image variance over seeds:

    Var(D) = s2_A / n_A + s2_B / n_B + max(0, Var_i(g_i) - (e_A / n_A + e_B / n_B)) / N

A t-distribution with Satterthwaite's degrees of freedom gives interval and p-value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

MIN_SEEDS = 3


@dataclass(frozen=True)
class Difference:
    """Arm A minus arm B in test accuracy; fractions of 1."""

    difference: float
    ci95: tuple[float, float]
    p_value: float
    n_seeds: int
    """Of the arm that has fewer."""


def compare(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> Difference:
    """Difference of two configurations, each trained on several seeds.

    Args:
        a: (n_A, N) which test images each seed of A classifies correctly, n_A >= 3.
        b: (n_B, N) likewise for B, on the same images in the same order.
    """
    if min(len(a), len(b)) < MIN_SEEDS or a.shape[1] != b.shape[1]:
        raise ValueError(f"at least {MIN_SEEDS} seeds on the same images, got {a.shape}, {b.shape}")
    d = float(a.mean() - b.mean())
    seed_terms = [(arm.mean(1).var(ddof=1) / len(arm), len(arm) - 1) for arm in (a, b)]
    n_images = a.shape[1]
    within = sum(arm.var(axis=0, ddof=1).mean() / len(arm) for arm in (a, b))
    between = (a.mean(0) - b.mean(0)).var(ddof=1)
    terms = [*seed_terms, (max(0.0, between - within) / n_images, n_images - 1)]
    variance = float(sum(v for v, _ in terms))
    if variance == 0:  # every seed of an arm scores the same, on the same images
        return Difference(d, (d, d), 1.0 if d == 0 else 0.0, min(len(a), len(b)))
    freedom = variance**2 / sum(v**2 / df for v, df in terms)
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
    p = 2 * float(stats.t.sf(abs(d) / math.sqrt(variance), freedom))
    return Difference(d, (d - half, d + half), p, min(len(a), len(b)))


def sentence(name_a: str, name_b: str, probes: Difference, against_head: Difference | None) -> str:
    """One plain sentence, about these two configurations on this split and nothing more.

    Args:
        name_a: arm A.
        name_b: arm B.
        probes: A's linear probe minus B's.
        against_head: A's linear probe minus B's own head, where B has one; A wins only if it beats
            both.
    """
    low, high = (100 * bound for bound in probes.ci95)
    figures = (
        f"{100 * probes.difference:+.2f} points of test accuracy, 95 % interval "
        f"{low:+.2f} to {high:+.2f}, {probes.n_seeds} seeds each"
    )
    scope = "These two configurations on this split:"
    if low > 0 and (against_head is None or against_head.ci95[0] > 0):
        return f"{scope} {name_a} beats {name_b} ({figures})."
    if low > 0:
        return (
            f"{scope} {name_a}'s probe beats {name_b}'s probe ({figures}), but not {name_b}'s "
            f"head; no difference shown."
        )
    if high < 0:
        return f"{scope} {name_b} beats {name_a} ({figures} for {name_a} minus {name_b})."
    return f"{scope} no difference shown ({figures} for {name_a} minus {name_b})."
