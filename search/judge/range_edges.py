"""Did the best trials lie at the bounds of what was drawn, and what would a wider space be?

Nearness is measured in a parameter's own scale: logarithms of loguniform and logint, exponents of
pow2. How far a bound may move is for the training config to say: what it refuses is not proposed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from pydantic.dataclasses import dataclass as documented

from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.space.checks import check_moved
from search.space.distribution import Distribution
from search.space.loading import read_space
from search.space.space import Space
from supcon.config import Config
from supcon.parsing import DOCUMENTED, UserError
from supcon.plain_yaml import write

NEAR = 0.05
"""Share of a range that counts as being at its bound."""

Bound = Literal["low", "high"]


@documented(frozen=True, config=DOCUMENTED)
class Edge:
    """A bound at which an arm's best trials lie."""

    parameter: str
    bound: Bound
    limit: int | float
    """The bound's value."""
    best: int | float | None
    """The best trial's value; None if it did not draw the parameter."""
    share: float
    """Of the best tenth of the trials, those that lie near the bound."""
    widened: int | float | None
    """A bound further out; None if the setting allows no more."""


@remembered
def edges(study: Study, arm: str) -> list[Edge]:
    """Bounds near which an arm's best trial lies, or half of its best tenth.

    Only trials that were trained to the end count or, where trials pause, may be expected to score
    as well there.
    """
    n_scored = len(study.log.expected(arm))
    top = study.log.top(arm, math.ceil(n_scored / 10))
    if not top:
        return []
    best = top[0]
    found = []
    for key, distribution in study.space.arm_params(arm).items():
        for bound in _bounds(distribution):
            share = sum(_is_near(trial, key, distribution, bound) for trial in top) / len(top)
            if _is_near(best, key, distribution, bound) or share >= 0.5:
                limit, value = _limit(distribution, bound), best.ask.params.get(key)
                widened = _widened(study.space, arm, key, bound)
                found.append(Edge(key, bound, limit, value, share, widened))
    return found


def wider(study: Study) -> Space | None:
    """The same space with the flagged bounds of all arms moved outward; None if none can be."""
    found = {
        (arm, edge.parameter, edge.bound): edge.widened
        for arm in study.arms
        for edge in edges(study, arm)
    }
    new, is_wider = study.space, False
    for (arm, key, bound), value in found.items():
        distribution = new.drawn(arm)[key]
        if value is None or not _is_outside(value, distribution, bound):  # another arm moved it
            continue
        if (moved := _with_bound(new, arm, key, bound, value)) is not None:
            new, is_wider = moved, True
    if not is_wider:
        return None
    return read_space(new.dump() | {"name": f"{study.space.name}-wider"}, new.name)


def wider_yaml(space: Space, file: str) -> str:
    """A widened space as the text of a file that `load_space` reads."""
    head = (
        f"# An earlier search's space, wider where its best trials lay at a bound: "
        f"python search/run.py --space {file}\n"
    )
    return head + write(space.dump())


def _bounds(distribution: Distribution) -> tuple[Bound, ...]:
    return () if distribution.kind == "choice" else ("low", "high")


def _limit(distribution: Distribution, bound: Bound) -> Any:
    return distribution.values[0 if bound == "low" else 1]


def _is_outside(value: float, distribution: Distribution, bound: Bound) -> bool:
    limit = _limit(distribution, bound)
    return bool(value < limit if bound == "low" else value > limit)


def _is_near(trial: Trial, key: str, distribution: Distribution, bound: Bound) -> bool:
    if key not in trial.ask.params:
        return False
    position = distribution.position(trial.ask.params[key])
    return (position if bound == "low" else 1 - position) <= NEAR + 1e-9


def _widened(space: Space, arm: str, key: str, bound: Bound) -> float | None:
    """The first bound further out that the config allows."""
    for value in _candidates(space.drawn(arm)[key], key, bound):
        if _with_bound(space, arm, key, bound, value) is not None:
            return value
    return None


def _candidates(distribution: Distribution, key: str, bound: Bound) -> Iterator[float]:
    """Bounds further out: by half of the range, a quarter, an eighth, and the setting's limit."""
    for share in (0.5, 0.25, 0.125):
        value = _moved(distribution, bound, share)
        if _is_outside(value, distribution, bound):
            yield value
    section, name = key.split(".")
    for rule in type(getattr(Config(), section)).model_fields[name].metadata:
        end = getattr(rule, "ge" if bound == "low" else "le", None)
        if end is not None and _is_outside(end, distribution, bound):
            yield type(_limit(distribution, bound))(end)


def _moved(distribution: Distribution, bound: Bound, share: float) -> float:
    """A bound moved outward by a share of the range; whole numbers by at least 1 (or a step)."""
    low, high = distribution.values
    limit, sign = _limit(distribution, bound), -1 if bound == "low" else 1
    match distribution.kind:
        case "pow2":
            return limit * 2 if bound == "high" else limit // 2
        case "loguniform":
            return _rounded(limit * (high / low) ** (sign * share))
        case "logint":
            value = round(limit * (high / low) ** (sign * share))
            return max(value, limit + 1) if bound == "high" else min(value, limit - 1)
        case "uniform" if distribution.step is None:
            return _rounded(limit + sign * share * (high - low))
    step = distribution.step or 1
    value = limit + sign * step * max(1, math.floor(share * (high - low) / step + 1e-9))
    return int(value) if distribution.kind == "int" else round(value, 10)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _with_bound(space: Space, arm: str, key: str, bound: Bound, value: float) -> Space | None:
    """The space with a bound moved where it is defined; None if its rules forbid that."""
    tree = space.dump()
    place = tree["arms"][arm] if key in space.arms[arm] else tree["params"]
    distribution = space.drawn(arm)[key]
    low, high = distribution.values
    ends = [value, high] if bound == "low" else [low, value]
    place[key] = distribution.as_pair() | {distribution.kind: ends}
    try:
        moved = read_space(tree, space.name)
        check_moved(moved, key, value)
    except UserError:
        return None
    return moved
