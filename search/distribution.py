"""How a parameter is drawn: the distributions of a space file, and what they check."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from pydantic import model_validator

from supcon.parsing import Section, nearest

Kind = Literal["uniform", "loguniform", "int", "logint", "pow2", "choice"]


class Distribution(Section):
    """How a parameter is drawn; written as one pair, for example `{loguniform: [0.03, 0.5]}`."""

    kind: Kind
    """pow2: powers of two, ordered (samplers treat a choice as unordered)."""
    values: tuple[Any, ...]
    """low and high, both included; for choice, all values."""

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, value: Any) -> Any:
        kinds = get_args(Kind)
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError(f"must be one distribution such as {{uniform: [0, 1]}}, got {value!r}")
        kind, values = next(iter(value.items()))
        if kind not in kinds:
            hint = nearest(str(kind), kinds) or f"; choose from {', '.join(kinds)}"
            raise ValueError(f"unknown distribution '{kind}'{hint}")
        if not isinstance(values, list):
            raise ValueError(f"{kind} must be followed by a list, got {values!r}")
        return {"kind": kind, "values": values if kind == "choice" else _numbers(kind, values)}

    @model_validator(mode="after")
    def _check_range(self) -> Distribution:
        if self.kind == "choice":
            if len(self.values) < 2:
                raise ValueError(f"choice needs at least 2 values, got {list(self.values)}")
            return self
        low, high = self.values
        if not low < high:
            raise ValueError(f"{self.kind}: low < high must hold, got [{low}, {high}]")
        if self.kind in ("loguniform", "logint", "pow2") and low <= 0:
            raise ValueError(f"{self.kind}: low > 0 must hold, got [{low}, {high}]")
        if self.kind == "pow2" and any(v & (v - 1) for v in self.values):
            raise ValueError(f"pow2: both ends must be powers of two, got [{low}, {high}]")
        return self

    def as_pair(self) -> dict[str, list[Any]]:
        """Back to the form of the YAML file."""
        return {self.kind: list(self.values)}


def _numbers(kind: str, values: list[Any]) -> list[float] | list[int]:
    if len(values) != 2:
        raise ValueError(f"{kind} must be followed by [low, high], got {values!r}")
    whole = kind in ("int", "logint", "pow2")
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        raise ValueError(f"{kind}: low and high must be numbers, got {values!r}") from None
    if not all(math.isfinite(n) and (n == int(n) or not whole) for n in numbers):
        rule = "whole numbers" if whole else "finite numbers"
        raise ValueError(f"{kind}: low and high must be {rule}, got {values!r}")
    return [int(number) for number in numbers] if whole else numbers
