"""Look at images and propose a space for them: `python search/run.py --init PATH`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.preflight.checks import settle_gpus, settle_space
from search.preflight.image_audit import audit_lines, look_over
from search.preflight.packing import Node, this_machine
from search.preflight.trial_cost import TrialCost, cost_here
from search.proposal.choices import Network, batch_sizes, networks
from search.proposal.hours import PLANS, Plan, fit_plan
from search.proposal.survey import Survey, data_config, describe, survey
from search.proposal.text import space_text
from search.space.loading import parse_space
from search.space.space import Space
from supcon.config import TEXT_KEYS
from supcon.images.loading import load_splits
from supcon.images.split import Splits
from supcon.network.weights import can_be_had
from supcon.parsing import UserError, parse_assignment
from supcon.plain_yaml import read

GIVEN_KEYS = tuple(
    f"data.{key}"
    for key in (
        *("path_column", "label_column", "split_column", "group_column"),
        *("test_size", "val_size", "split_seed", "train_size", "hold_out", "unknown"),
        *("broken", "fit", "background"),
    )
)
"""What may be given: how images are found, split and made square."""

DRAFT = Plan(9, 1, 1, 3, references=False, least_epochs=1, epochs=10)
"""Any plan: what a trial's epoch costs does not depend on it."""


def propose(path: Path, out: Path, hours: float, assignments: Sequence[str] = ()) -> int:
    """Look at the images at a path, and write a space that is done in about so many hours.

    Args:
        path: a folder, a table, or a saved data set.
        out: the file to write.
        hours: that the search may take.
        assignments: KEY=VALUE of the settings of `data` that say how images are found and split.

    Raises:
        UserError: there is nothing to train on, there is a file already, or the hours are too few.
    """
    if out.exists():
        raise UserError(f"--out {out}: is there already; name another file, or remove it")
    found, data = survey(path, _given(assignments))
    audit = look_over(data_config(found.settings), data)
    print(*describe(found), *audit_lines(audit), sep="\n", flush=True)
    nodes = [this_machine()]
    on_gpu = any(node.gpus for node in nodes)
    network, plan = _fitting(found, hours, nodes, out)
    text = space_text(found, network, plan, out, hours, on_gpu=on_gpu)
    _write(out, text)
    print(f"wrote     {out}: {_summary(network, plan)}")
    print(f"start     python search/run.py --space {shlex.quote(str(out))}")
    return 0


def _given(assignments: Sequence[str]) -> dict[str, Any]:
    """The settings of `data` that somebody gives."""
    given = dict(parse_assignment(text, TEXT_KEYS) for text in assignments)
    for key in given:
        if key not in GIVEN_KEYS:
            raise UserError(
                f"--set {key}: --init decides it; change it in the file that is written, or give "
                f"one of {', '.join(GIVEN_KEYS)}"
            )
    return {key.removeprefix("data."): value for key, value in given.items()}


def _fitting(found: Survey, hours: float, nodes: list[Node], out: Path) -> tuple[Network, Plan]:
    """The richest plan that the hours allow, with the costliest network that goes with it.

    Networks are timed from the cheapest on, up to one for which the hours are too few.
    """
    on_gpu = any(node.gpus for node in nodes)
    choices = networks(found, on_gpu=on_gpu, can_pretrain=can_be_had("resnet18"))
    fitted: dict[Plan, tuple[Network, Plan]] = {}
    sizes: dict[int, Splits] = {}
    for network in reversed(choices):
        size = network.image_size
        if size not in sizes:
            sizes = {size: load_splits(data_config(found.settings, image_size=size))}

        def space_of(plan: Plan, network: Network = network) -> dict[str, Any]:
            return dict(read(space_text(found, network, plan, out, hours, on_gpu=on_gpu)))

        cost = _cost(found, network, parse_space(space_of(DRAFT), "--init"), sizes[size], nodes)
        plans = {plan: fit_plan(plan, hours, cost, space_of, nodes) for plan in PLANS}
        fitted |= {plan: (network, fit) for plan, fit in plans.items() if fit is not None}
        if not any(plans.values()):
            break
    for plan in PLANS:
        if plan in fitted:
            return fitted[plan]
    raise UserError(
        f"--hours {hours:g}: too few for these images on this machine, even with "
        f"{choices[-1].backbones[0]} and {PLANS[-1].least_epochs} epochs a trial; give more, or "
        f"fewer images"
    )


def _cost(
    found: Survey, network: Network, space: Space, data: Splits, nodes: list[Node]
) -> TrialCost:
    """What a trial of the costliest backbone costs: on a CPU a small batch is timed sooner."""
    space = settle_space(settle_gpus(space, nodes), data)
    batch = batch_sizes(found.n_train)[1 if space.resources.gpu else 0]
    changes: dict[str, Any] = {"data.batch_size": batch, "model.backbone": network.backbones[-1]}
    arm = next(iter(space.arms))
    given = {key: value for key, value in changes.items() if key in space.arm_params(arm)}
    cost = cost_here(data)(space.trial_config(arm, given, seed=0))
    print(f"cost      {cost} at {network.image_size} pixels", flush=True)
    return cost


def _summary(network: Network, plan: Plan) -> str:
    backbones = " or ".join(network.backbones)
    pretrained = ", pretrained" if network.pretrained else ""
    return (
        f"{backbones}{pretrained} at {network.image_size} pixels, {plan.trials} trials an arm of "
        f"{plan.epochs} epochs, {plan.seeds} seeds for each winner; about {plan.hours:.1f} h"
    )


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from None
