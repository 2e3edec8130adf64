"""How a parameter is drawn: the distributions of a space file, and what they check."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from supcon.parsing import Section, nearest

Kind = Literal["uniform", "loguniform", "int", "logint", "pow2", "choice"]
OPTIONS = ("step", "when")


class Distribution(Section):
    """How a parameter is drawn; written as one pair, for example `{loguniform: [0.03, 0.5]}`, with
    `step` and `when` next to it.
    """

    kind: Kind
    """pow2: powers of two, ordered (samplers treat a choice as unordered)."""
    values: tuple[Any, ...]
    """low and high, both included; for choice, all values."""
    step: float | None = Field(None, gt=0)
    """uniform and int: how far the values that may be drawn lie apart, from low to high."""
    when: dict[str, Any] = {}
    """Other parameters, and the values that they must have in a trial for this one to be drawn."""

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, value: Any) -> Any:
        kinds = get_args(Kind)
        if isinstance(value, Distribution):
            return value
        pair = value
        if isinstance(value, dict):
            pair = {key: v for key, v in value.items() if key not in OPTIONS}
        if not isinstance(pair, dict) or len(pair) != 1:
            raise ValueError(f"must be one distribution such as {{uniform: [0, 1]}}, got {value!r}")
        kind, values = next(iter(pair.items()))
        if kind not in kinds:
            hint = nearest(str(kind), kinds) or f"; choose from {', '.join(kinds)}"
            raise ValueError(f"unknown distribution '{kind}'{hint}")
        if not isinstance(values, list):
            raise ValueError(f"{kind} must be followed by a list, got {values!r}")
        options = {key: v for key, v in value.items() if key in OPTIONS}
        values = values if kind == "choice" else _numbers(kind, values)
        return {"kind": kind, "values": values, **options}

    @model_validator(mode="after")
    def _check_range(self) -> Distribution:
        if self.kind == "choice":
            if len(self.values) < 2:
                raise ValueError(f"choice needs at least 2 values, got {list(self.values)}")
            return self._without_step()
        low, high = self.values
        if not low < high:
            raise ValueError(f"{self.kind}: low < high must hold, got [{low}, {high}]")
        if self.kind in ("loguniform", "logint", "pow2") and low <= 0:
            raise ValueError(f"{self.kind}: low > 0 must hold, got [{low}, {high}]")
        if self.kind == "pow2" and any(v & (v - 1) for v in self.values):
            raise ValueError(f"pow2: both ends must be powers of two, got [{low}, {high}]")
        if self.kind not in ("uniform", "int"):
            return self._without_step()
        self._check_step(low, high)
        return self

    @property
    def is_continuous(self) -> bool:
        """Whether no single value is ever likely to be drawn twice."""
        return self.kind in ("uniform", "loguniform") and self.step is None

    @property
    def is_log(self) -> bool:
        """Whether it is even in the logarithm."""
        return self.kind in ("loguniform", "logint", "pow2")

    @property
    def powers(self) -> tuple[int, ...]:
        """Of a pow2: all values that may be drawn, in order."""
        low, high = (int(value).bit_length() - 1 for value in self.values)
        return tuple(1 << exponent for exponent in range(low, high + 1))

    def is_drawn(self, drawn: Mapping[str, Any], params: Container[str]) -> bool:
        """Whether its conditions hold in a trial that has drawn so much.

        Args:
            drawn: the trial's values of the parameters before this one.
            params: all parameters of the arm; conditions on others were decided before the search.
        """
        conditions = ((key, value) for key, value in self.when.items() if key in params)
        return all(key in drawn and drawn[key] == value for key, value in conditions)

    def position(self, value: float) -> float:
        """Where a number lies between low (0) and high (1), in the distribution's own scale."""
        low, high, x = (math.log(v) if self.is_log else v for v in (*self.values, value))
        return (x - low) / (high - low)

    def can_be(self, value: Any) -> bool:
        """Whether `value` may be drawn."""
        if self.kind == "choice":
            return value in self.values
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not (is_whole or (isinstance(value, float) and self.kind in ("uniform", "loguniform"))):
            return False
        low, high = self.values
        if not low <= value <= high:
            return False
        if self.kind == "pow2":
            return value & (value - 1) == 0
        steps = (value - low) / (self.step or 1)
        return self.is_continuous or abs(steps - round(steps)) < 1e-9

    def _without_step(self) -> Distribution:
        if self.step is not None:
            raise ValueError(f"{self.kind} takes no step; uniform and int do")
        return self

    def _check_step(self, low: float, high: float) -> None:
        if self.step is None:
            return
        if self.kind == "int" and self.step != int(self.step):
            raise ValueError(f"int: step must be a whole number, got {self.step:g}")
        steps = (high - low) / self.step
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-9:
            raise ValueError(
                f"{self.kind}: high must lie a whole number of steps above low, "
                f"got [{low}, {high}] and step {self.step:g}"
            )

    def __str__(self) -> str:
        options = f" step {self.step:g}" if self.step else ""
        options += "".join(f" when {key} is {value}" for key, value in self.when.items())
        return f"{self.kind}{list(self.values)}{options}"

    def as_pair(self) -> dict[str, Any]:
        """Back to the form of the YAML file."""
        options = {"step": self.step, "when": dict(self.when)}
        return {self.kind: list(self.values)} | {key: v for key, v in options.items() if v}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """The form of the YAML file, for editors."""
        ends = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        choice = {"type": "array", "minItems": 2}
        forms = {kind: choice if kind == "choice" else ends for kind in get_args(Kind)}
        fields = cls.model_fields
        options = {
            "step": {"type": "number", "exclusiveMinimum": 0},
            "when": {"type": "object", "minProperties": 1},
        }
        for name, option in options.items():
            option["description"] = fields[name].description
        return {
            "type": "object",
            "description": cls.__doc__,
            "properties": forms | options,
            "additionalProperties": False,
            "oneOf": [{"required": [kind]} for kind in forms],
        }


def _numbers(kind: str, values: list[Any]) -> list[float] | list[int]:
    if len(values) != 2:
        raise ValueError(f"{kind} must be followed by [low, high], got {values!r}")
    whole = kind in ("int", "logint", "pow2")
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{kind}: low and high must be numbers, got {values!r}") from None
    if not all(math.isfinite(n) and (n == int(n) or not whole) for n in numbers):
        rule = "whole numbers" if whole else "finite numbers"
        raise ValueError(f"{kind}: low and high must be {rule}, got {values!r}")
    return [int(number) for number in numbers] if whole else numbers
