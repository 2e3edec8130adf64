"""Everything that can be wrong with a search and can be known before Ray starts."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from search.preflight.packing import Node, at_once, misfit, this_machine
from search.preflight.pretrained import DRAWN_TOGETHER, configs_by_backbone
from search.preflight.trial_cost import kinds
from search.space.checks import conditions
from search.space.loading import with_base, with_resources, with_settings
from search.space.resources import Footprint, Shares
from search.space.space import Space
from supcon.auto_settings import settle
from supcon.config import Config, DataConfig
from supcon.evaluation.accuracy import are_equal
from supcon.images.batches import check_room_to_share
from supcon.images.loading import check_batch_size, check_test, check_unknown, load_splits
from supcon.images.split import Splits
from supcon.listing.listing import LeftOut
from supcon.network.device import pick_device, usable_gpus
from supcon.network.models import network_for
from supcon.parsing import UserError
from supcon.recipe.optim import build_optimizer
from supcon.step_memory import settle_memory


def check_all(space: Space, measured: tuple[Footprint, ...], address: str | None) -> Splits:
    """The images of the study, after every check; what is wrong is told all at once.

    Args:
        space: the search space.
        measured: what each kind of config takes, as far as known.
        address: the cluster that trials run on; None: this machine.

    Raises:
        UserError: with a line for the machine and one for the data, as the case may be.
    """
    problems, data = [], None
    try:
        data = load_checked_data(space)
    except UserError as error:
        problems.append(str(error))
    try:
        if address is None:
            for arm in space.arms:
                pick_device(space.arm_config(arm).run.device)
            here = space if measured else settle_gpus(space, [this_machine()])
            check_machine(Shares(here.resources, measured))
            if data is not None:
                check_workers(here, Shares(here.resources, measured), data)
        else:
            check_address(address)
    except UserError as error:
        problems.append(str(error))
    if problems or data is None:
        raise UserError("\n".join(problems))
    return data


def check_address(address: str) -> None:
    """Whether something listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # `auto`: Ray finds out by itself, at once
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address {address}: nothing answers there ({error}); start Ray with `ray start "
            f"--head`, or leave --address out for a local one"
        ) from None


def check_machine(shares: Shares) -> None:
    """Whether one trial fits into this machine; Ray would wait for ever for what is not there.

    Raises:
        UserError: naming the resource, what is wanted and what there is.
    """
    here = this_machine()
    want = misfit(shares, [here])
    if want is None:
        return
    if want.gpu > here.gpus:
        raise UserError(
            f"resources.gpu: a trial wants {want.gpu:g} GPU, this machine has no GPU; take what is "
            f"there (--gpus-per-trial auto), or name a cluster that has one with --address"
        )
    is_auto = shares.want.cpu == "auto"  # it was measured elsewhere
    raise UserError(
        f"resources.cpu: a trial wants {want.cpu:g} CPUs, this machine has {here.cpus:g}; "
        f"lower it (--cpus-per-trial {'auto' if is_auto else f'{here.cpus:g}'})"
    )


def check_workers(space: Space, shares: Shares, data: Splits) -> None:
    """Whether the loaders' workers of all trials at once have room for their batches.

    Raises:
        UserError: there is too little, and what to do.
    """
    here = this_machine()
    for arm in space.arms:
        config = space.arm_config(arm)
        drawn = space.arm_params(arm).get("data.batch_size")
        changes = {"data.batch_size": max(drawn.values)} if drawn else {}
        largest = space.trial_config(arm, changes, seed=0)
        threads = config.run.threads or max(1, int(shares.of(largest).cpu))
        runs = at_once(shares, largest, [here])
        check_room_to_share(largest, data.train, threads=threads, runs=runs)


def load_checked_data(space: Space) -> Splits:
    """The images of the study, after checking that every trial of the space can train on them.

    Raises:
        UserError: images missing or broken, a batch too large, a backbone or an optimiser that
            cannot be built.
    """
    data = load_images(space.config.data)
    most = max(2, len(data.train) // 4)
    hint = f"lower it, for example --set data.batch_size={2 ** (most.bit_length() - 1)}"
    if space.config.data.is_own:
        hint = f"python search/run.py --init {space.config.data.root} writes a space that fits"
    for arm in space.arms:
        params = space.arm_params(arm)
        drawn = params.get("data.batch_size")
        fixed = space.arm_config(arm).data.batch_size
        check_batch_size(max(drawn.values) if drawn else fixed, len(data.train), hint)
        keys = [key for key in params if key.startswith("model.") or key == "optim.name"]
        single = [
            space.trial_config(arm, {**conditions(key, params), key: value}, seed=0)
            for key in keys
            if key not in DRAWN_TOGETHER
            for value in params[key].values
        ]
        for config in [*configs_by_backbone(space, arm), *single]:
            build_optimizer(network_for(config, data), config.optim, config.data.batch_size)
    return data


def load_images(config: DataConfig) -> Splits:
    """Train and val, after a look at all images, those of test included.

    Raises:
        UserError: images are missing or broken; those of train and val, and those of test, are told
            together.
    """
    problems, data, left_out, unknown = list[str](), None, LeftOut(), tuple[str, ...]()
    broken = unknown
    try:
        data = load_splits(config)
        data.check()
    except UserError as error:
        problems.append(str(error))
    try:
        left_out = check_test(config)
        unknown, broken = check_unknown(config)
    except UserError as error:
        problems += [line for line in str(error).splitlines() if line not in "\n".join(problems)]
    if problems or data is None:
        raise UserError("\n".join(problems))
    broken = (*data.left_out.broken, *left_out.broken, *broken)
    return replace(data, left_out=replace(left_out, broken=broken), unknown=unknown)


def settle_gpus(space: Space, nodes: Sequence[Node]) -> Space:
    """The space with `gpu: auto` as 0 if trials train on the CPU: asked to, or for lack of a GPU.

    Args:
        space: the search space.
        nodes: the machines that trials run on.
    """
    device, has_gpu = space.config.run.device, any(node.gpus for node in nodes)
    is_on_cpu = device == "cpu" or (device == "auto" and not has_gpu)
    if space.resources.gpu != "auto" or not is_on_cpu:
        return space
    return with_resources(space, {"gpu": 0}, "resources")


def settle_space(space: Space, data: Splits) -> Space:
    """The space with what `auto` means written into it, one meaning for all trials."""
    arm = next(iter(space.arms))
    drawn = space.arm_params(arm).get("model.backbone")
    backbones, on_gpu = drawn.values if drawn else (), space.resources.gpu != 0
    space = with_base(space, settle(space.arm_config(arm), data, backbones, on_gpu=on_gpu))
    if not space.resources.is_auto:  # then it is measured for each kind of config
        space = with_base(space, settle_memory_of(space, data))
    if space.selection != "auto":
        return space
    is_equal = are_equal(np.bincount(data.train.labels).tolist())
    return with_settings(space, {"selection": "top1" if is_equal else "balanced"})


def settle_memory_of(space: Space, data: Splits) -> dict[str, str]:
    """`run.memory` for all trials of a space whose shares are fixed: so that the largest ones fit.

    Where trials train on GPUs that this machine does not have, nothing is known of their memory.
    """
    want, has_gpu = space.resources, usable_gpus() > 0
    if want.gpu != 0 and not has_gpu:
        return {"run.memory": "plain"} if space.config.run.memory == "auto" else {}
    by_backbone = groupby(sorted(kinds(space), key=_backbone), _backbone)
    largest = [max(some, key=lambda c: c.data.batch_size) for _, some in by_backbone]
    shares = Shares(want)
    part = min(1.0, shares.of(largest[0]).gpu)
    if want.gpu == 0:
        part = 1 / max(1, at_once(shares, largest[0], [this_machine()]))
    return settle_memory(largest, data, part)


def _backbone(config: Config) -> str:
    return config.model.backbone
