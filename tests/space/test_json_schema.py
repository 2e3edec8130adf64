"""The schema for editors says what the search says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from search.space.json_schema import space_schema

SPACES = Path(__file__).resolve().parents[2] / "spaces"
MINIMAL: dict[str, Any] = {
    "params": {"loss.temperature": {"loguniform": [0.05, 0.5]}},
    "budget": {"trials": 4},
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return space_schema()


@pytest.fixture(scope="module")
def validate(schema: dict[str, Any]) -> Callable[[Any], None]:
    """Raises what does not fit; the schema itself, which is large, is looked at once."""
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    return validator(schema).validate


def test_the_schema_that_is_shipped_is_fresh(schema: dict[str, Any]) -> None:
    """If not: python -m search.space.json_schema > spaces/schema.json."""
    assert json.loads((SPACES / "schema.json").read_text()) == schema


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_fits_the_schema_and_names_it(
    path: Path, validate: Callable[[Any], None]
) -> None:
    validate(yaml.safe_load(path.read_text()))
    assert "yaml-language-server: $schema=schema.json" in path.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scheduler": "none"},
        {"budget": {"time": "1h30m"}},
        {"params": {"optim.momentum": {"uniform": [0, 0.9], "when": {"optim.name": "sgd"}}}},
        {"arms": {"ce": {"loss.name": "ce", "loss.label_smoothing": {"uniform": [0, 0.2]}}}},
        {"points": {"ce": [{"optim.lr_per_256": 0.1, "seed": 3}]}},
    ],
)
def test_what_the_search_takes_fits(
    changes: dict[str, Any], validate: Callable[[Any], None]
) -> None:
    validate(MINIMAL | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"loss.temprature": {"uniform": [0, 1]}}},
        {"params": {"loss.temperature": {"uniform": [0]}}},
        {"params": {"loss.temperature": {"uniform": [0, 1], "int": [0, 1]}}},
        {"base": {"run": {"epochs": -1}}},
        {"arms": {"ce": {"loss.nam": "ce"}}},
        {"budget": {"time": "soon"}},
        {"points": {"ce": [{"optim.lr": 0.1}]}},
        {"trials": 4},
    ],
)
def test_what_the_search_refuses_does_not_fit(
    changes: dict[str, Any], validate: Callable[[Any], None]
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(MINIMAL | changes)
