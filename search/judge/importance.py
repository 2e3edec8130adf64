"""Which parameters mattered: Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255).

It compares how a parameter is distributed among the good trials and among all. Scores of different
epochs would be compared as if they were alike, and then what makes for long training, or for quick
early learning, would seem to matter; so all scores are of one epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic.dataclasses import dataclass as documented

from search.log.study import Study
from search.log.trial import Trial
from search.space.distribution import Distribution
from search.strategy.optuna_form import encode, encoded
from supcon.parsing import DOCUMENTED

MIN_TRIALS = 4
ENOUGH_TRIALS = 10
GOOD_TRIALS = 5  # Optuna's documentation asks for so many


@documented(frozen=True, config=DOCUMENTED)
class Importance:
    """How much each parameter tells good trials from others."""

    epoch: int
    """Whose scores were compared."""
    n_trials: int
    values: dict[str, float]
    """Parameter -> share, the largest first; they sum to 1, or are all 0 if nothing tells."""
    top: float
    """Fraction of the trials called good."""


def importances(study: Study, arm: str) -> Importance | None:
    """Importance of an arm's parameters; None if too few trials reached any one rung."""
    at_rung = [(epoch, _scored(study.log.of(arm), epoch)) for epoch in reversed(study.space.rungs)]
    enough = [found for found in at_rung if len(found[1]) >= ENOUGH_TRIALS]
    epoch, scored = enough[0] if enough else max(at_rung, key=lambda found: len(found[1]))
    if len(scored) < MIN_TRIALS:
        return None
    top = max(0.1, min(0.5, GOOD_TRIALS / len(scored)))
    params = study.space.arm_params(arm)
    values = dict.fromkeys(params, 0.0)
    if len({score for _, score in scored}) > 1:
        values |= _shares([_frozen(trial, score, params) for trial, score in scored], top)
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return Importance(epoch, len(scored), dict(ordered), top)


def _scored(trials: Iterable[Trial], epoch: int) -> list[tuple[Trial, float]]:
    """Trials that reached an epoch, and their scores there."""
    return [(trial, trial.scores[epoch]) for trial in trials if epoch in trial.scores]


def _shares(trials: list[FrozenTrial], top: float) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental; rarely drawn conditional parameters
        evaluator = PedAnovaImportanceEvaluator(target_quantile=top)
        return get_param_importances(study, evaluator=evaluator)


def _frozen(trial: Trial, score: float, params: dict[str, Distribution]) -> FrozenTrial:
    drawn = {key: value for key, value in trial.ask.params.items() if key in params}
    return create_trial(
        state=TrialState.COMPLETE,
        value=score,
        params={key: encode(params[key], value) for key, value in drawn.items()},
        distributions={key: encoded(params[key]) for key in drawn},
    )
