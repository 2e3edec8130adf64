"""Does one arm beat the other? Statistics as pure functions on numbers.

D is the difference of two configurations' mean test accuracy. It is uncertain for two reasons: few
seeds and few test images. With n seeds an arm, N images, s2 the variance of accuracy over an arm's
seeds, g_i image i's difference of seed means and e an arm's mean within-image variance over seeds:

    Var(D) = s2_A / n_A + s2_B / n_B + max(0, Var_i(g_i) - (e_A / n_A + e_B / n_B)) / N

Where test images come in G groups (of a patient, say), images of one are no independent evidence,
and groups take the place of images: with r_sk what seed s has right in group k beyond its share of
all, R_k the difference of the arms' mean r_k, and v_k an arm's variance of r_k over seeds, the last
term is max(0, sum_k(R_k^2) - sum_k(v_Ak / n_A + v_Bk / n_B)) G / (G - 1) / N^2.

By balanced accuracy an image counts w_i = 1 / (K n_k) of its class k, and not 1 / N. The test
images are then K samples: the last term becomes the sum over classes of the same for the n_k images
of a class, times 1 / K^2; how much g differs between classes adds nothing to it. With groups, r_sk
is then what seed s has right beyond its share of each image's class, an image counting w_i N.

Other measures than accuracy come as values of runs on blocks of images, whose mean is the measure;
blocks take the place of groups, with N = G and r what a value is beyond its run's mean.

A t-distribution with Satterthwaite's degrees of freedom gives interval and p-value.
`results/calibration.md` shows how often it errs. Accuracies and differences are fractions of 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from search.judge.difference import ALPHA, ROUNDING, Difference, detectable, estimate, freedom_of

MIN_SEEDS = 3

Correct = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]


def compare(
    a: Correct, b: Correct, groups: Groups | None = None, *, labels: Labels | None = None
) -> Difference:
    """Difference of two configurations, each trained on several seeds.

    Args:
        a: (n_A, N) which test images each seed of A classifies correctly, n_A >= 3.
        b: (n_B, N) likewise for B, on the same images in the same order, N >= 2.
        groups: (N,) ids of at least 2 groups of images, if they come in groups.
        labels: (N,) class ids, for the difference in balanced accuracy; None: in accuracy.

    Returns:
        The difference. Without any variance, that is, if all seeds of an arm are right on the same
        images and the arms differ on none or on all of them, the interval is a point and the
        p-value 1 or 0.
    """
    noise = _noise(a, b, MIN_SEEDS, groups, labels)
    # From counts, so that equal accuracies differ by 0 and not by a rounding error.
    if labels is None:
        d = int(a.sum()) / a.size - int(b.sum()) / b.size
    else:
        d = float(_balanced(a, labels) - _balanced(b, labels))
    found = _estimated(d, noise, a, b)
    return found if groups is None else replace(found, n_groups=len(np.unique(groups)))


def compare_values(a: Values, b: Values, n_equal: float | None = None) -> Difference:
    """Difference in a measure that is a run's mean over blocks of images.

    Args:
        a: (n_A, J) values of each seed of A on each block, n_A >= 3, as `search.further.jackknife`
            makes them of any measure.
        b: (n_B, J) likewise for B, on the same blocks, J >= 2.
        n_equal: for how many blocks of one size these stand (`equal_parts`); None: J.
    """
    noise = _noise(a, b, MIN_SEEDS, np.arange(a.shape[1]), None)
    if n_equal is not None:
        noise = replace(noise, units=n_equal / a.shape[1])
    return _estimated(float(a.mean() - b.mean()), noise, a, b)


def value_of(a: Values, n_equal: float | None = None) -> Difference:
    """A configuration's own value, as its difference from 0; (n, J) as in `compare_values`."""
    return compare_values(a, np.zeros_like(a), n_equal)


def equal_parts(weights: Values) -> float:
    """How many parts of one weight hold their variance as these do (Kish), if images of a part were
    right or wrong together: of unequal parts, few hold most of it.
    """
    return float((weights**2).sum() ** 2 / (weights**4).sum())


def _estimated(d: float, noise: _Noise, a: Correct | Values, b: Correct | Values) -> Difference:
    terms = noise.terms(noise.over_seeds, (len(a), len(b)), a.shape[1])
    if sum(v for v, _ in terms) < ROUNDING:
        # By chance no seed of an arm scores better than another, though they are right on different
        # images. To be certain then would be wrong: 1.3 instead of 0.9 % false alarms, of 10,000
        # simulated studies with 3 seeds, 100 images and 99 % accuracy.
        terms = noise.terms(noise.of_draws(a.shape[1]), (len(a), len(b)), a.shape[1])
    return estimate(d, terms, min(len(a), len(b)))


def _balanced(arm: Correct, labels: Labels) -> Fraction:
    shares = [
        Fraction(int(arm[:, labels == k].sum()), len(arm) * int((labels == k).sum()))
        for k in np.unique(labels)
    ]
    return sum(shares, Fraction()) / len(shares)


def detectable_with(
    a: Correct,
    b: Correct,
    n_seeds: int,
    n_images: int,
    groups: Groups | None = None,
    *,
    labels: Labels | None = None,
    level: float = ALPHA,
) -> float:
    """The smallest difference that a study will probably be able to show, before it is run.

    Args:
        a: (n_A, M) which validation images each seed of one configuration classifies correctly,
            n_A >= 2.
        b: (n_B, M) likewise for another configuration, on the same images.
        n_seeds: seeds an arm that the study will have, >= 3.
        n_images: its test images, >= 2.
        groups: (M,) groups of the validation images, if the study's images come in groups alike.
        labels: as in `compare`; the test images are expected in the same proportions.
        level: at which the study will judge it.
    """
    if n_seeds < MIN_SEEDS or n_images < 2:
        raise ValueError(
            f"a study needs {MIN_SEEDS} seeds and 2 images, got {n_seeds} and {n_images}"
        )
    noise = _noise(a, b, 2, groups, labels)
    # Part of s2 shrinks with the number of images: a seed's result on an image is a draw.
    draws = zip(noise.of_draws(a.shape[1]), noise.of_draws(n_images), strict=True)
    s2 = [max(0.0, v - now) + then for v, (now, then) in zip(noise.over_seeds, draws, strict=True)]
    terms = noise.terms(s2, (n_seeds, n_seeds), n_images)
    here = (len(a) - 1, len(b) - 1, noise.freedom_of(a.shape[1]))
    known = [(v, freedom) for (v, _), freedom in zip(terms, here, strict=True)]
    error = math.sqrt(sum(v for v, _ in terms))
    return detectable(error, freedom_of(terms), freedom_of(known), level)


@dataclass(frozen=True)
class _Noise:
    """What two configurations' results vary by."""

    over_seeds: list[float]
    """s2 of each arm, on the images at hand."""
    within_image: list[float]
    """e of each arm."""
    over_images: float
    """Var_i(g_i), or N times the variance by groups or classes, without what the seeds contribute
    to it."""
    units: float
    """Independent units an image: 1 without groups and classes."""

    def of_draws(self, n_images: int) -> list[float]:
        """The part of s2 that is there because a seed's result on an image is a draw."""
        return [e / n_images for e in self.within_image]

    def freedom_of(self, n_images: int) -> float:
        """Degrees of freedom of `over_images`, from so many images."""
        return max(1.0, self.units * n_images - 1)

    def terms(
        self, s2: list[float], n_seeds: tuple[int, int], n_images: int
    ) -> list[tuple[float, float]]:
        """The terms of Var(D), each with its degrees of freedom."""
        seeds = [(v / n, float(n - 1)) for v, n in zip(s2, n_seeds, strict=True)]
        return [*seeds, (self.over_images / n_images, self.freedom_of(n_images))]


def _noise(
    a: Correct | Values,
    b: Correct | Values,
    min_seeds: int,
    groups: Groups | None,
    labels: Labels | None,
) -> _Noise:
    n_images = a.shape[1]
    if min(len(a), len(b)) < min_seeds or n_images != b.shape[1] or n_images < 2:
        raise ValueError(
            f"at least {min_seeds} seeds on the same 2 or more images, got {a.shape}, {b.shape}"
        )
    noise = _plain_noise(a, b) if labels is None else _balanced_noise(a, b, labels)
    if groups is None:
        return noise
    over_images, units = _over_groups(a, b, groups, labels)
    return replace(noise, over_images=over_images, units=units)


def _plain_noise(a: Correct | Values, b: Correct | Values) -> _Noise:
    over_seeds = [float(arm.sum(1).var(ddof=1)) / a.shape[1] ** 2 for arm in (a, b)]
    within = [float(arm.var(axis=0, ddof=1).mean()) for arm in (a, b)]
    of_g = float((a.mean(0) - b.mean(0)).var(ddof=1))
    over_images = max(0.0, of_g - within[0] / len(a) - within[1] / len(b))
    return _Noise(over_seeds, within, over_images, 1.0)


def _balanced_noise(a: Correct | Values, b: Correct | Values, labels: Labels) -> _Noise:
    """Of balanced accuracy; what is said of an image is N times its contribution to the mean."""
    n_images = a.shape[1]
    ids, counts, weight = _classes(labels, n_images)
    over_seeds = [float((arm * weight).sum(1).var(ddof=1)) for arm in (a, b)]
    within_N = [arm.var(axis=0, ddof=1) * weight**2 for arm in (a, b)]
    g = (a.mean(0) - b.mean(0)) * weight
    samples = [np.flatnonzero(own) for own in _samples(ids, counts)]
    # n times the variance of a sample is that of its sum.
    of_g = np.array([len(own) * g[own].var(ddof=1) for own in samples])
    of_images = of_g.sum() - within_N[0].sum() / len(a) - within_N[1].sum() / len(b)
    freedom = float(n_images - 1)
    if of_g.any():
        freedom = float(of_g.sum() ** 2 / sum(of_g**2 / [len(own) - 1 for own in samples]))
    return _Noise(
        over_seeds=over_seeds,
        within_image=[n_images * float(each.sum()) for each in within_N],
        over_images=n_images * max(0.0, float(of_images)),
        units=(freedom + 1) / n_images,
    )


def _classes(
    labels: Labels | None, n_images: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """(N,) class of each image, (K,) images of each class, (N,) what an image counts.

    Without labels all images are of one class, and count 1 / N.
    """
    if labels is None:
        labels = np.zeros(n_images, dtype=np.int64)
    _, ids, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return ids, counts, 1 / (len(counts) * counts[ids])


def _samples(ids: npt.NDArray[np.intp], counts: npt.NDArray[np.intp]) -> list[Correct]:
    """Which images each sample has that tells a variance: a class, if it has 2 images or more.

    Classes of a single image are one sample together, which is on the safe side, since it counts
    how they differ; if there is but one of them, the rarest other class joins it.
    """
    joined = counts < 2
    if joined.sum() == 1:
        joined[np.where(joined, counts.max() + 1, counts).argmin()] = True
    found = [ids == k for k in np.flatnonzero(~joined)]
    return [*found, joined[ids]] if joined.any() else found


def _over_groups(
    a: Correct | Values, b: Correct | Values, groups: Groups, labels: Labels | None
) -> tuple[float, float]:
    """N times the variance of D over groups, and how many independent groups an image stands for.

    Of groups of unequal weights as many are counted as `equal_parts` says.
    """
    n_images = a.shape[1]
    ids, counts, weight = _classes(labels, n_images)
    _, group = np.unique(groups, return_inverse=True)
    weights = np.bincount(group, weights=weight)
    n_groups = len(weights)
    if n_groups < 2:
        raise ValueError("at least 2 groups of images are needed, got 1")
    difference, of_seeds = np.zeros(n_groups), 0.0
    for sign, arm in ((1, a), (-1, b)):
        shares = np.stack([np.bincount(ids, weights=seed) for seed in arm]) / counts
        beyond_N = (arm - shares[:, ids]) * weight
        beyond = np.stack([np.bincount(group, weights=seed) for seed in beyond_N])  # (n, G)
        difference += sign * beyond.mean(axis=0)
        of_seeds += float(beyond.var(axis=0, ddof=1).sum()) / len(arm)
    variance = max(0.0, float((difference**2).sum()) - of_seeds) * n_groups / (n_groups - 1)
    return variance * n_images, equal_parts(weights.astype(np.float64)) / n_images
