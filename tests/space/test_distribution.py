"""Distributions: what is refused, and which values they can have."""

from __future__ import annotations

from typing import Any

import pytest

from search.space.distribution import Distribution
from tests.space.refusal import refusal
from tests.written import TREE as MINIMAL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": {"loss.temperature": [0.1, 1]}}, "must be one distribution such as"),
        ({"params": {"loss.temperature": {"loguni": [0.1, 1]}}}, "did you mean 'loguniform'?"),
        ({"params": {"loss.temperature": {"uniform": 0.1}}}, "followed by a list, got 0.1"),
        ({"params": {"loss.temperature": {"uniform": [0.1]}}}, "followed by [low, high]"),
        ({"params": {"loss.temperature": {"uniform": [1, 0.5]}}}, "low < high must hold, got [1.0"),
        ({"params": {"loss.temperature": {"uniform": [1, 1]}}}, "low < high must hold"),
        ({"params": {"loss.temperature": {"uniform": ["a", 1]}}}, "must be numbers, got ['a', 1]"),
        (
            {"params": {"loss.temperature": {"uniform": [0, float("inf")]}}},
            "must be finite numbers",
        ),
        ({"params": {"loss.temperature": {"loguniform": [0, 1]}}}, "low > 0 must hold"),
        ({"params": {"data.batch_size": {"pow2": [48, 256]}}}, "both ends must be powers of two"),
        ({"params": {"data.batch_size": {"int": [32.5, 64]}}}, "must be whole numbers"),
        ({"params": {"model.backbone": {"choice": ["resnet18"]}}}, "at least 2 values"),
        (
            {"arms": {"ce": {"loss.name": "ce", "loss.label_smoothing": {"uni": [0, 1]}}}},
            "arms.ce.loss.label_smoothing: unknown distribution 'uni'",
        ),
        ({"params": {"optim.momentum": {"loguniform": [0.1, 0.9], "step": 0.1}}}, "takes no step"),
        ({"params": {"optim.momentum": {"uniform": [0, 0.9], "step": 0.4}}}, "number of steps"),
        ({"params": {"model.head_dim": {"int": [2, 9], "step": 0.5}}}, "step must be a whole num"),
    ],
)
def test_a_bad_distribution_is_refused_in_words_that_name_the_key(
    changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(MINIMAL | changes)


@pytest.mark.parametrize(
    "pair",
    [
        {"uniform": [0.0, 1.0]},
        {"int": [1, 5]},
        {"pow2": [8, 64]},
        {"choice": ["a", None, 3]},
        {"uniform": [0.0, 1.0], "step": 0.25, "when": {"optim.name": "sgd"}},
    ],
)
def test_a_distribution_goes_back_to_its_yaml_form(pair: dict[str, Any]) -> None:
    assert Distribution.model_validate(pair).as_pair() == pair


@pytest.mark.parametrize(
    ("pair", "values"),
    [
        ({"int": [2, 5]}, [2, 3, 4, 5]),
        ({"int": [2, 10], "step": 4}, [2, 6, 10]),
        ({"logint": [1, 4]}, [1, 2, 3, 4]),
        ({"pow2": [4, 32]}, [4, 8, 16, 32]),
        ({"uniform": [0, 1], "step": 0.25}, [0, 1, 0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"choice": ["a", None, 3]}, ["a", None, 3]),
    ],
)
def test_exactly_these_values_can_be_drawn(pair: dict[str, Any], values: list[Any]) -> None:
    distribution = Distribution.model_validate(pair)
    tried = [*range(-1, 40), *(n / 8 for n in range(-8, 16)), "a", "b", None, True]
    can_be = [repr(value) for value in tried if distribution.can_be(value)]
    assert sorted(can_be) == sorted(map(repr, values))  # 1 is not True, nor 1.0


@pytest.mark.parametrize(
    ("kind", "middle"),
    [("uniform", 32.5), ("loguniform", 8), ("int", 32.5), ("logint", 8), ("pow2", 8)],
)
def test_positions_are_even_in_the_scale_of_the_distribution(kind: str, middle: float) -> None:
    distribution = Distribution.model_validate({kind: [1, 64]})
    found = [distribution.position(value) for value in (1, middle, 64)]
    assert found == pytest.approx([0, 0.5, 1])


def test_a_parameter_is_drawn_where_all_its_conditions_hold() -> None:
    pair = {"uniform": [0, 1], "when": {"a": 1, "b": "x", "fixed": 5}}
    distribution, params = Distribution.model_validate(pair), {"a", "b"}
    assert distribution.is_drawn({"a": 1, "b": "x"}, params)  # `fixed` is not drawn: decided before
    assert not distribution.is_drawn({"a": 1, "b": "y"}, params)
    assert not distribution.is_drawn({"b": "x"}, params)  # a was not drawn in this trial
