"""Can the rungs be trusted: do early scores order the trials as their final scores would?

Nobody knows the final score of a trial that was stopped. But it was stopped for its scores at the
rungs alone, so that given all of these its next score is distributed as that of the trials that
went on, and least squares on them are unbiased although they are a selection. (A line from the
first rung to the final score would not be: later rungs selected among the trials that have one.)
Missing scores are drawn many times, rung after rung, from fits to bootstrap samples (multiple
imputation); what the draws disagree about is the uncertainty. Sentinels give the fits their range.
Scores are fractions of 1.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
from pydantic.dataclasses import dataclass as documented
from scipy.stats import kendalltau

from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.budget import pauses
from supcon.parsing import DOCUMENTED

MIN_COMPLETED = 4
MIN_TAU = 0.5
N_DRAWS = 1000

Floats = npt.NDArray[np.float64]


@documented(frozen=True, config=DOCUMENTED)
class RungAudit:
    """How well the scores at a rung order the trials that reached it."""

    epoch: int
    n_trials: int
    tau: float | None
    """Kendall's tau-b with the final scores, median of the draws; None if all scores are equal."""
    ci95: tuple[float, float] | None
    """Of these trials' tau; a point if all of them trained to the end."""


@documented(frozen=True, config=DOCUMENTED)
class Audit:
    """What early stopping cost an arm, as far as can be known."""

    rungs: list[RungAudit]
    """All but the last, which is the full length."""
    n_completed: int
    n_stopped: int
    n_sentinels: int
    """Of the completed ones."""
    chance_best_stopped: float | None
    """That a stopped trial would have beaten the best completed one; where trials pause, that one
    that was no candidate would have beaten all that were."""
    warning: str | None = None
    note: str | None = None


@remembered
def audit(study: Study, arm: str, seed: int = 0) -> Audit | None:
    """Check an arm's early stopping against what came of it; None if nothing stops early."""
    asha, epochs = study.space.scheduler.asha, study.space.rungs
    if asha is None:
        return None
    # No rung stopped those that were cut when the time was up.
    ended = [(t, _scores(t, epochs)) for t in study.log.of(arm) if not t.is_cut]
    done = [(t, s) for t, s in ended if t.is_completed and len(s) == len(epochs)]
    stopped = [s for t, s in ended if t.outcome == "stopped" and 0 < len(s) < len(epochs)]
    if pauses(study.space):
        n_sentinels = sum(trial.promoted == "sentinel" for trial, _ in done)
    else:
        n_sentinels = sum(asha.is_sentinel(trial.ask.number) for trial, _ in done)
    counts = (len(done), len(stopped), n_sentinels)
    if len(epochs) == 1:
        return Audit([], *counts, None, note="no rung lies before the full length")
    if len(done) < MIN_COMPLETED:
        few = f"at least {MIN_COMPLETED} trials trained to the end are needed, got {len(done)}"
        return Audit([], *counts, None, note=few)
    known = sorted([s for _, s in done] + stopped)  # the order of the trials does not matter
    draws = impute(known, len(epochs), N_DRAWS, np.random.default_rng(seed))
    rungs = [_rung(epoch, k, known, draws) for k, epoch in enumerate(epochs[:-1])]
    note = None if n_sentinels else "no sentinel trained to the end: all rests on survivors"
    kept = [s for _, s in done]
    if pauses(study.space):
        top = {trial.ask.number for trial in study.log.top(arm, study.space.confirm.top)}
        kept = [s for t, s in ended if t.ask.number in top]
    chance = _chance_best_stopped(known, draws, kept)
    return Audit(rungs, *counts, chance, _warning(arm, rungs), note)


def impute(
    known: list[tuple[float, ...]], n_rungs: int, n_draws: int, rng: np.random.Generator
) -> Floats:
    """Draw the scores that stopped trials would have had.

    Each draw has a bootstrap sample of its own, and so varies by as much as the fit is uncertain.

    Args:
        known: scores of each trial at the rungs that it reached, the first rungs of all.
        n_rungs: rungs, the last is the full length; at least one trial reached it.
        n_draws: number of draws.
        rng: source of the draws.

    Returns:
        (n_draws, trials, n_rungs) scores, the known ones the same in all draws.
    """
    scores = np.full((n_draws, len(known), n_rungs), np.nan)
    for i, row in enumerate(known):
        scores[:, i, : len(row)] = row
    for k in range(1, n_rungs):
        went_on = np.array([len(row) > k for row in known])
        first = max(0, k - int(went_on.sum()) // 2)  # few trials bear few regressors
        before, y = scores[:, :, first:k], scores[0, went_on, k]
        sample = rng.integers(len(y), size=(n_draws, len(y)))
        slopes, intercept, residuals = _fit(before[0, went_on][sample], y[sample])
        picked = rng.integers(len(y), size=(n_draws, int((~went_on).sum())))
        drawn = np.einsum("dmp,dp->dm", before[:, ~went_on], slopes) + intercept
        scores[:, ~went_on, k] = (drawn + np.take_along_axis(residuals, picked, 1)).clip(0, 1)
    return scores


def _fit(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Least squares for each draw; the mean of y where all x are equal.

    Args:
        x: (draws, points, regressors).
        y: (draws, points).

    Returns:
        Slopes (draws, regressors), intercepts (draws, 1) and residuals (draws, points), these as
        widely spread as unseen points are around the fit.
    """
    mean_x, mean_y = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    off_x, off_y = x - mean_x, y - mean_y
    gram = np.einsum("dmp,dmq->dpq", off_x, off_x)
    inverse = np.linalg.pinv(gram, rcond=1e-9, hermitian=True)  # a sample may be degenerate
    slopes = np.einsum("dpq,dmq,dm->dp", inverse, off_x, off_y, optimize=True)
    residuals = off_y - np.einsum("dmp,dp->dm", off_x, slopes)
    spread = math.sqrt(y.shape[1] / max(1, y.shape[1] - 1 - x.shape[2]))  # what the fit has taken
    return slopes, mean_y - np.einsum("dmp,dp->dm", mean_x, slopes), residuals * spread


def _scores(trial: Trial, rungs: tuple[int, ...]) -> tuple[float, ...]:
    """Scores at the rungs that a trial reached."""
    at = trial.scores
    return tuple(at[epoch] for epoch in itertools.takewhile(at.__contains__, rungs))


def _rung(epoch: int, k: int, known: list[tuple[float, ...]], draws: Floats) -> RungAudit:
    reached = [len(row) > k for row in known]
    early, n_trials = draws[0, reached, k], sum(reached)
    taus = np.array([kendalltau(early, final).statistic for final in draws[:, reached, -1]])
    taus = taus[np.isfinite(taus)]
    if len(taus) == 0:
        return RungAudit(epoch, n_trials, None, None)
    low, tau, high = (float(q) for q in np.percentile(taus, [2.5, 50, 97.5]))
    return RungAudit(epoch, n_trials, tau, (low, high))


def _chance_best_stopped(
    known: list[tuple[float, ...]], draws: Floats, kept: list[tuple[float, ...]]
) -> float | None:
    """Share of the draws in which a trial that was left behind has the best final score.

    Args:
        known: scores of each trial.
        draws: see `impute`.
        kept: scores of those that were not left behind; without any of them the share is unknown.
    """
    is_kept = np.array([row in kept for row in known])
    if not is_kept.any():
        return None
    left = draws[:, ~is_kept, -1].max(1, initial=-math.inf)
    return float((left > draws[:, is_kept, -1].max(1)).mean())


def _warning(arm: str, rungs: list[RungAudit]) -> str | None:
    first = rungs[0]
    if first.tau is None or first.ci95 is None or first.tau >= MIN_TAU:
        return None
    good = [rung.epoch for rung in rungs if rung.tau is not None and rung.tau >= MIN_TAU]
    way_out = f"scheduler.asha.grace: {good[0]}" if good else "scheduler: none"
    low, high = first.ci95
    return (
        f"{arm}: scores after {first.epoch} epochs say little about the final ones (Kendall's tau "
        f"{first.tau:.2f}, 95 % interval {low:.2f} to {high:.2f}, {first.n_trials} trials), and "
        f"trials were stopped by them; search with {way_out}"
    )
