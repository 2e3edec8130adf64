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

    low, high = plan.least_epochs, MOST_EPOCHS
    if expected(replace(plan, epochs=low)) > limit:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        is_short = expected(replace(plan, epochs=middle)) <= limit
        low, high = (middle, high) if is_short else (low, middle - 1)
    plan = replace(plan, epochs=low)
    while plan.trials < MOST_TRIALS and expected(replace(plan, trials=plan.trials + 1)) <= limit:
        plan = replace(plan, trials=plan.trials + 1)
    return replace(plan, hours=expected(plan))
