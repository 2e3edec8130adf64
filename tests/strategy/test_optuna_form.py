"""Distributions and their values as Optuna knows them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from search.space.distribution import Distribution
from search.strategy.optuna_form import decode, encode, encoded, shown, suggest_one

PAIRS: list[tuple[dict[str, Any], Any]] = [
    ({"pow2": [16, 256]}, 64), ({"uniform": [0, 1]}, 0.3), ({"choice": ["a", "b"]}, "b"),
    ({"logint": [1, 9]}, 4), ({"uniform": [0, 1], "step": 0.25}, 0.75),
    ({"int": [2, 10], "step": 4}, 6),
]  # fmt: skip


@pytest.mark.parametrize(("pair", "value"), PAIRS)
def test_a_value_comes_back_from_optuna_as_it_was(pair: dict[str, Any], value: Any) -> None:
    distribution = Distribution.model_validate(pair)
    assert distribution.can_be(value)
    trial = optuna.trial.FixedTrial({"x": encode(distribution, value)})
    assert decode(distribution, suggest_one(trial, "x", distribution)) == value


@pytest.mark.parametrize(("pair", "value"), PAIRS)
def test_optuna_takes_a_value_in_both_forms(pair: dict[str, Any], value: Any) -> None:
    distribution = Distribution.model_validate(pair)
    given = {"shown": value, "encoded": encode(distribution, value)}
    forms = {"shown": shown(distribution), "encoded": encoded(distribution)}
    assert optuna.create_trial(params=given, distributions=forms, value=0).params == given


def test_powers_of_two_are_drawn_evenly_and_shown_as_what_they_are() -> None:
    distribution = Distribution.model_validate({"pow2": [16, 256]})
    drawn, seen = encoded(distribution), shown(distribution)
    assert isinstance(drawn, optuna.distributions.IntDistribution)
    assert [decode(distribution, i) for i in range(drawn.low, drawn.high + 1)] == [
        16,
        32,
        64,
        128,
        256,
    ]
    assert not drawn.log
    assert isinstance(seen, optuna.distributions.IntDistribution)
    assert (seen.low, seen.high, seen.log) == (16, 256, True)
