"""How long trials may train, and how many there are, in the hours that somebody has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search.preflight.forecast import search_seconds
from search.preflight.packing import Node
from search.preflight.trial_cost import TrialCost
from search.space.loading import parse_space

SAFETY = 0.75
"""Of the hours, what is planned: trials slow each other down, and starts are not counted."""
MOST_EPOCHS = 200
MOST_TRIALS = 64


@dataclass(frozen=True)
class Plan:
    """How much is searched, and how surely it is confirmed."""

    trials: int
    """Of each arm."""
    top: int
    """Configurations of each arm of which fresh seeds pick the winner."""
    pick_seeds: int
    seeds: int
    references: bool
    """Whether published settings are trained beside the winners."""
    least_epochs: int
    """With fewer, a thinner plan is better."""
    epochs: int = 0
    """Of a trial."""
    hours: float = 0.0
    """What it is expected to take."""

    @property
    def confirm(self) -> dict[str, Any]:
        """The space's section."""
        seeds = {"pick_seeds": self.pick_seeds, "seeds": self.seeds}
        return {"top": self.top, **seeds, "references": self.references}


PLANS = (
    Plan(27, 3, 2, 5, references=True, least_epochs=60),
    Plan(18, 2, 1, 5, references=False, least_epochs=30),
    Plan(9, 1, 1, 3, references=False, least_epochs=8),
)


def fit_plan(
    plan: Plan,
    hours: float,
    cost: TrialCost,
    space_of: Callable[[Plan], dict[str, Any]],
    nodes: Sequence[Node],
) -> Plan | None:
    """The plan with the most epochs, then trials, that the hours allow; None: with too few epochs.

    Args:
        plan: to begin with.
        hours: that there are.
        cost: of the costliest trial.
        space_of: the space that a plan is written as.
        nodes: the machines that trials run on.
    """
    limit = SAFETY * hours

    def expected(wanted: Plan) -> float:
        space = parse_space(space_of(wanted), "--init")
        # GPUs are the bound, however many trials share one; on the CPU, cores.
        slots = sum(node.gpus for node in nodes) or sum(node.cpus for node in nodes)
        return search_seconds(space, cost) / max(1.0, slots) / 3600

    def fits(wanted: Plan) -> bool:
        return expected(wanted) <= limit

    if not fits(replace(plan, epochs=plan.least_epochs)):
        return None
    most = _most(plan.least_epochs, MOST_EPOCHS, lambda n: fits(replace(plan, epochs=n)))
    plan = replace(plan, epochs=most)
    most = _most(plan.trials, MOST_TRIALS, lambda n: fits(replace(plan, trials=n)))
    plan = replace(plan, trials=most)
    return replace(plan, hours=expected(plan))


def _most(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from `low`, which fits, to `high` that does, by halving."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
