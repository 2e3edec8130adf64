"""The log's trials and a space's distributions as Optuna knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial, FrozenTrial, TrialState, create_trial

from search.log.trial import Trial
from search.space.distribution import Distribution

_STATE = {  # FAIL would teach the sampler nothing, so trials that cannot run count as pruned
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def told_state(trial: Trial) -> TrialState:
    """What Optuna is told of a trial that has ended, or that it runs."""
    if trial.outcome is None:
        return TrialState.RUNNING
    if trial.is_cut and not trial.reports:
        return TrialState.FAIL  # as pruned without a score it would be the worst of all
    return _STATE[trial.outcome]


def frozen(
    trial: Trial, params: Mapping[str, Distribution], value: float | None = None
) -> FrozenTrial:
    """A trial as a sampler is told of it.

    Args:
        trial: another seed of known params is no new evidence.
        params: what its arm draws.
        value: its score at full length, as far as it is known; else how it ended, and its reports.
    """
    state = told_state(trial) if value is None else TrialState.COMPLETE
    if trial.ask.of is not None and state != TrialState.RUNNING:
        state, value = TrialState.FAIL, None
    return create_trial(
        state=state,
        value=value,
        params={key: encode(params[key], value) for key, value in trial.ask.params.items()},
        distributions={key: encoded(params[key]) for key in trial.ask.params},
        intermediate_values=trial.scores,
    )


def suggest_one(trial: BaseTrial, key: str, distribution: Distribution) -> Any:
    """Optuna's value of a parameter, to be decoded."""
    match encoded(distribution):
        case FloatDistribution() as x:
            return trial.suggest_float(key, x.low, x.high, log=x.log, step=x.step)
        case IntDistribution() as x:
            return trial.suggest_int(key, x.low, x.high, log=x.log, step=x.step)
        case CategoricalDistribution() as x:
            return trial.suggest_categorical(key, x.choices)


def encode(distribution: Distribution, value: Any) -> Any:
    """A config's value as Optuna sees it: of a power of two its exponent, which is ordered and
    evenly spaced.
    """
    return value.bit_length() - 1 if distribution.kind == "pow2" else value


def decode(distribution: Distribution, value: Any) -> Any:
    """The reverse of `encode`."""
    return 1 << value if distribution.kind == "pow2" else value


def encoded(distribution: Distribution) -> BaseDistribution:
    """As `encode` gives its values: powers of two are their exponents."""
    if distribution.kind != "pow2":
        return shown(distribution)
    low, high = (encode(distribution, value) for value in distribution.values)
    return IntDistribution(low, high)


def shown(distribution: Distribution) -> BaseDistribution:
    """A distribution for people to look at: powers of two as what they are."""
    kind, step = distribution.kind, distribution.step
    if kind == "choice":
        return CategoricalDistribution(distribution.values)
    low, high = distribution.values
    if kind in ("uniform", "loguniform"):
        return FloatDistribution(low, high, log=distribution.is_log, step=step)
    return IntDistribution(low, high, log=distribution.is_log, step=int(step or 1))
