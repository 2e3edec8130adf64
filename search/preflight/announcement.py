"""What is about to run, for a person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from search.preflight.packing import Node, trials_to_fill
from search.preflight.pretrained import describe_weights, pinned_weights
from search.preflight.trial_cost import describe_cost
from search.space.resources import Footprint, Resources
from search.space.space import Space
from search.strategy.budget import pauses
from supcon.auto_settings import describe as describe_auto
from supcon.evaluation.accuracy import are_equal
from supcon.images.split import Splits


def describe(space: Space, measured: Iterable[Footprint], data: Splits) -> list[str]:
    """What is about to run, for a person.

    Args:
        space: the search space.
        measured: what each kind of config takes, where that is `auto`.
        data: the images.
    """
    config, budget = space.config, space.budget
    limits = [
        f"{budget.total_epochs} epochs an arm" if budget.total_epochs else "",
        f"{budget.trials} trials an arm" if budget.trials else "",
        "the points alone" if space.sampler == "points" else "",
        f"{budget.time / 60:g} minutes in all" if budget.time else "",
    ]
    lines = [
        f"data      {config.data.name}: {len(data.train)} train, {len(data.val)} val images of "
        f"{data.train.images.shape[1]}x{data.train.images.shape[2]}, {len(data.classes)} classes; "
        f"test is sealed",
        f"images    {describe_auto(config, data)}",
        *(f"unknown   {phrase}; sealed like test" for phrase in data.unknown),
        *(f"left out  {phrase}" for phrase in data.left_out.describe()),
        *_describe_selection(space, data),
        f"trials    {config.run.epochs} epochs; {_describe_rungs(space)}",
        f"budget    {', '.join(limit for limit in limits if limit)}; arms {_describe_arms(space)}; "
        f"then {space.confirm.seeds} fresh seeds for each winner, picked from the best "
        f"{space.confirm.top}",
    ]
    lines += describe_weights(pinned_weights(space))
    lines += [_describe_share(each, space.resources) for each in measured]
    for arm in space.arms:
        drawn = [f"{key} {d}" for key, d in space.arm_params(arm).items()]
        lines.append(f"{arm:9s} draws {', '.join(drawn)}")
    return lines


def _describe_arms(space: Space) -> str:
    """Their names and, of several comparisons, the baseline."""
    names, pairs = ", ".join(space.arms), space.comparisons
    return f"{names} (each against {pairs[0][1]})" if len(pairs) > 1 else names


def _describe_selection(space: Space, data: Splits) -> list[str]:
    """By what is selected, where classes are unequal or it is balanced accuracy all the same."""
    counts = np.bincount(data.train.labels)
    if space.selection != "balanced" and are_equal(counts.tolist()):
        return []
    by = "balanced accuracy" if space.selection == "balanced" else "accuracy"
    return [
        f"classes   of {counts.min():,} to {counts.max():,} training images; what decides is {by} "
        f"({space.selection_metric})"
    ]


def describe_machines(space: Space, nodes: Sequence[Node]) -> str:
    """Where trials train: cores and GPUs, and memory if it is this machine alone.

    Args:
        space: the search space, `gpu: auto` settled.
        nodes: the machines that trials run on.
    """
    cores, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    parts = [
        f"{cores:g} core{'s' * (cores != 1)}",
        f"{gpus:g} GPU{'s' * (gpus > 1)}" if gpus else "no GPU",
    ]
    if len(nodes) > 1:
        parts.insert(0, f"{len(nodes)} nodes")
    on_cpu = space.resources.gpu == 0
    return f"machine   {', '.join(parts)}; trials train on {'the CPU' if on_cpu else 'GPUs'}"


def _describe_share(each: Footprint, want: Resources) -> str:
    takes = f"{each.gpu:.3g} of a GPU" if want.gpu == "auto" else ""
    cores = f"{each.cpu:g} cores" if want.cpu == "auto" else ""
    fills = ""
    if each.busy is not None:
        n = trials_to_fill(each.busy)
        by = "one trial fills it" if n == 1 else f"{n} trials fill it"
        fills = f", GPU busy for {100 * each.busy:.0f} % of a step: {by}"
    return (
        f"share     {each.kind}: {describe_cost(each)}{fills}; a trial takes "
        f"{' and '.join(filter(None, [takes, cores]))}"
    )


def _describe_rungs(space: Space) -> str:
    """What share of the trials is expected to train how long."""
    if space.scheduler.asha is None:
        return "none is stopped early"
    shares = [
        f"about 1 in {space.scheduler.asha.reduction**i} to {epochs}" if i else f"all to {epochs}"
        for i, epochs in enumerate(space.rungs)
    ]
    rest = "; others pause, and may go on or be confirmed" if pauses(space) else ""
    return f"ASHA lets {', '.join(shares)}{rest}{_why(space)}"


def _why(space: Space) -> str:
    """Why the first rung lies where it does, if nobody has said where it should."""
    asha, budget, epochs = space.scheduler.asha, space.budget, space.config.run.epochs
    if asha is None or not asha.promotion:
        return ""
    share, total = asha.auto_share(epochs, budget), budget.total_epochs
    if space.grace != math.ceil(epochs / share):
        return ""
    if total is None:
        return " (the first rung is a ninth of the epochs, as no total_epochs limit the search)"
    part = {27: "a 27th", 9: "a ninth"}[share]
    return f" (the first rung is {part} of the epochs, the budget {total / epochs:g} full trials)"
