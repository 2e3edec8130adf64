"""How many trials fit: Ray's bookkeeping, without Ray; the share of each kind of config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.preflight.trial_cost import CannotRun, TrialCost
from search.space.resources import ConfigKind, Footprint, Resources, Share, Shares
from supcon.config import Config
from supcon.machine import cores
from supcon.network.device import usable_gpus
from supcon.parsing import UserError

TINY = 1e-9  # 0.3 / 0.1 is 2.9999999999999996


CONTEXT = 2**30
"""Bytes of a GPU that each process takes beside its tensors: CUDA's context, and libraries' own."""


MARGIN = 1.1
"""On top of a measured peak: another optimiser or a wider augmentation than the measured one's."""


LEAST_GAIN = 0.25
"""Of a trial's work, what one more trial on a GPU must find it idle for."""


@dataclass(frozen=True)
class Node:
    """A machine as Ray counts it."""

    cpus: float
    gpus: float


def trials_at_once(memory: int, capacity: int, *, on_gpu: bool) -> int:
    """Trials of a kind that share a device: as many as fit with a margin; at least one.

    Args:
        memory: bytes that a trial of the kind reserves at most.
        capacity: bytes of the device.
        on_gpu: whether it is a GPU, where each process needs a context, too.
    """
    return max(1, int(capacity / (MARGIN * memory + (CONTEXT if on_gpu else 0))))


def trials_to_fill(busy: float) -> int:
    """Trials of a kind that a GPU has work for; further ones would only wait for each other.

    A GPU serves processes in turn. Trials each of which lets it compute for half of a step fill it
    by two; a third would find it idle at no time.

    Args:
        busy: part of a step in which it computes, above 0.
    """
    return max(1, int(1 / busy + 1 - LEAST_GAIN))


def room(nodes: Sequence[Node], taken: Sequence[Share], want: Share) -> int:
    """How many more trials of one kind fit, if all that are there are packed as well as they can.

    A fraction of a GPU lies on one GPU: 0.4 fits twice into one.

    Args:
        nodes: the machines.
        taken: what trials have already; the large ones are placed first.
        want: what each further trial takes.
    """
    bins = [_Bin(node.cpus, [1.0] * int(node.gpus)) for node in nodes]
    for share in sorted(taken, key=lambda share: (-share.gpu, -share.cpu)):
        if not any(each.place(share) for each in bins):
            return 0  # one of them waits for a place itself
    fitting = 0
    while any(each.place(want) for each in bins):
        fitting += 1
    return fitting


def at_once(shares: Shares, config: Config, nodes: Sequence[Node]) -> int:
    """Trials of this config that run at once: as many as asked for, if there is room."""
    slots = room(nodes, [], shares.of(config))
    return min(slots, shares.want.concurrency or slots)


def misfit(shares: Shares, nodes: Sequence[Node]) -> Share | None:
    """A share that fits into no node, if trials may take one."""
    return next((share for share in shares.all() if room(nodes, [], share) < 1), None)


@dataclass
class _Bin:
    """What is left of a node."""

    cpus: float
    gpus: list[float]

    def place(self, share: Share) -> bool:
        """Take a share, if it fits."""
        if self.cpus + TINY < share.cpu:
            return False
        if share.gpu > 0:
            free = [i for i, left in enumerate(self.gpus) if left + TINY >= share.gpu]
            if not free:
                return False
            self.gpus[free[0]] -= share.gpu
        self.cpus -= share.cpu
        return True


def this_machine() -> Node:
    """What this process may use of this machine."""
    return Node(cores(), usable_gpus())


def footprints(
    want: Resources, costs: Sequence[TrialCost | CannotRun], nodes: Sequence[Node]
) -> tuple[Footprint, ...]:
    """The share of each kind of config: the smallest 1/k that its memory allows, and that pays.

    Where the number of cores of a trial is given, the cores of a GPU allow no more than so many
    trials either, and each takes what it can use.

    Args:
        want: what is wanted, of which something is `auto`.
        costs: what was measured.
        nodes: the machines that trials run on.

    Raises:
        UserError: no kind of config can run.
    """
    on_gpu = want.gpu != 0
    # Of each GPU, or of the machine where none is used.
    cores = min(n.cpus / max(1, n.gpus) for n in nodes if n.cpus and (n.gpus or not on_gpu))
    able = [each for each in costs if isinstance(each, TrialCost)]
    if not able:
        reasons = "; ".join(dict.fromkeys(p.reason for p in costs if isinstance(p, CannotRun)))
        raise UserError(f"resources: auto found no kind of config that can run ({reasons})")
    found = []
    for each in able:
        most = cores if want.cpu == "auto" else cores / want.cpu
        k = trials_at_once(each.memory, each.capacity, on_gpu=on_gpu)
        k = max(1, min(k, int(most), trials_to_fill(each.busy) if each.busy else k))
        found.append(
            Footprint(
                **ConfigKind.of(each.config)._asdict(),
                memory=each.memory,
                views_per_second=round(each.views_per_second, 1),
                cpu=_cores(want, cores, k),
                gpu=_part(1, k) if on_gpu else 0,
                usable=_part(each.usable, 1),
                busy=each.busy,
            )
        )
    return tuple(found)


def _cores(want: Resources, cores: float, k: int) -> float:
    """Of the cores that belong to a device, as large a part as a trial has of it."""
    if want.gpu == 0:
        return max(1, cores // k)
    return _part(cores, k) if want.gpu == "auto" else int(10_000 * cores * want.gpu) / 10_000


def _part(whole: float, k: int) -> float:
    """A k-th in Ray's resolution, never more: k of them must fit into the whole."""
    return int(10_000 * whole / k) / 10_000
