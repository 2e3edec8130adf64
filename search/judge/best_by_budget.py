"""What a budget buys: the best score against epochs spent, as it was and as to be expected.

One search's best-so-far curve is one draw. The best of n random trials, in expectation, is known
without bias from N >= n of them (Tang et al. 2020, arXiv:2004.13705). Only trials that were
certainly drawn at random count: Optuna's TPE draws so until 10 trials have told it something.
Scores are fractions of 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic.dataclasses import dataclass as documented

from search.log.events import Ask, End, Report, TrialId
from search.log.study import Study
from search.log.trial import Trial
from search.space.space import Space
from search.strategy.optuna_form import told_state
from supcon.parsing import DOCUMENTED

N_STARTUP = 10  # Optuna's default, in trials that are complete or pruned, given points included
MIN_TRIALS = 3
N_BOOTSTRAP = 1000

Floats = npt.NDArray[np.float64]


@documented(frozen=True, config=DOCUMENTED)
class ExpectedBest:
    """The best score of n random trials, in expectation, for n = 1 .. n_trials."""

    epoch: int
    """At which trials were scored: the highest rung that all of them reached."""
    n_trials: int
    epochs: list[float]
    """What n trials cost up to that rung, in the mean."""
    mean: list[float]
    low: list[float]
    """95 % band, by the bootstrap over trials; of few trials it is too narrow towards the right."""
    high: list[float]


def best_so_far(study: Study, arm: str) -> list[tuple[int, float]]:
    """After each trial that was trained to the end: epochs the arm had spent, best score so far.

    Trials that still ran then count as far as they had reported.
    """
    spent: dict[TrialId, int] = {}
    curve: list[tuple[int, float]] = []
    for event in study.log.events:
        if not isinstance(event, Report | End) or (event.arm, event.phase) != (arm, "search"):
            continue
        trial = study.log.trials[event.key]
        spent[event.key] = event.epoch if isinstance(event, Report) else trial.epochs
        if isinstance(event, End) and event.outcome == "completed" and trial.reports:
            best = max(trial.score, curve[-1][1]) if curve else trial.score
            curve.append((sum(spent.values()), best))
    return curve


def expected_best(study: Study, arm: str, seed: int = 0) -> ExpectedBest | None:
    """The best of n random trials of an arm, in expectation; None if fewer than 3 are known.

    A trial that diverged or ran out of memory scores 0: its params are of no use. One whose worker
    died, or that has not ended, says nothing and is left out, and so is one that was cut when the
    time was up, before it came as far as all others.
    """
    trials = random_trials(study, arm)
    scored = [t for t in trials if t.outcome in ("completed", "stopped") and not t.is_cut]
    common = [epoch for epoch in study.space.rungs if all(epoch in t.scores for t in scored)]
    useless = [t for t in trials if t.outcome in ("infeasible", "diverged")]
    if not scored or not common:
        return None
    epoch = common[-1]
    scored += [trial for trial in trials if trial.is_cut and epoch in trial.scores]
    n, at = len(scored) + len(useless), [trial.scores for trial in scored]
    if n < MIN_TRIALS:
        return None
    scores = np.array([reports[epoch] for reports in at] + [0.0] * len(useless))
    cost = sum(min(trial.epochs, epoch) for trial in [*scored, *useless]) / n
    scores.sort()  # the order of the trials does not matter
    sample = np.random.default_rng(seed).integers(n, size=(N_BOOTSTRAP, n))
    mean, draws = expected_maxima(scores), expected_maxima(scores[sample])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return ExpectedBest(
        epoch=epoch,
        n_trials=n,
        epochs=[cost * k for k in range(1, n + 1)],
        mean=mean.tolist(),
        low=np.minimum(low, mean).tolist(),
        high=np.maximum(high, mean).tolist(),
    )


def expected_maxima(scores: Floats) -> Floats:
    """Mean of the best of n scores over all sets of n, for n = 1 .. N.

    With v_(1) <= .. <= v_(N), that is the sum over i of v_(i) C(i-1, n-1) / C(N, n).

    Args:
        scores: (..., N).

    Returns:
        (..., N), the maximum of n = 1 first.
    """
    n_scores = scores.shape[-1]
    order = np.arange(n_scores, 0, -1)  # i from N down to 1
    n = np.arange(1, n_scores + 1)[:, None]
    # C(i-1, n-1) / C(N, n) is n / N at i = N, and (i - n) / (i - 1) times as much one i lower.
    ratios = np.maximum(order[:-1] - n, 0) / (order[:-1] - 1)
    weights = n / n_scores * np.cumprod(np.hstack([np.ones_like(n), ratios]), axis=1)
    result: Floats = np.sort(scores, axis=-1)[..., ::-1] @ weights.T
    return result


def random_trials(study: Study, arm: str) -> list[Trial]:
    """An arm's trials that were certainly drawn at random, in the order of the log."""
    n_points, n_told, chosen = len(study.space.points.get(arm, [])), 0, list[Trial]()
    for event in study.log.events:
        if not isinstance(event, Ask | End) or (event.arm, event.phase) != (arm, "search"):
            continue
        trial = study.log.trials[event.key]
        if isinstance(event, End):
            n_told += trial.ask.of is None and told_state(trial).name != "FAIL"
        elif event.number >= n_points and _is_random(study.space, n_told):
            chosen.append(trial)
    return chosen


def _is_random(space: Space, n_told: int) -> bool:
    """Whether the sampler draws at random after so many trials that told it something."""
    return space.sampler == "random" or (space.sampler == "tpe" and n_told < N_STARTUP)
