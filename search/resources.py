"""What a trial takes of a machine, and how many trials fit: Ray's bookkeeping, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from supcon.config import Config
from supcon.parsing import Section

TINY = 1e-9  # 0.3 / 0.1 is 2.9999999999999996
CONTEXT = 2**30
"""Bytes of a GPU that each process takes beside its tensors: CUDA's context, and libraries' own."""
MARGIN = 1.1
"""On top of a measured peak: another optimiser or a wider augmentation than the probe's."""


class Footprint(Section):
    """What a class of configs was measured to take, and the share that it gets for it."""

    backbone: str
    batch_size: int
    precision: str
    memory: int = Field(gt=0)
    """Bytes at most, of a GPU or else of the process."""
    views_per_second: float = Field(gt=0)
    """Of one trial that has the device to itself."""
    cpu: float = Field(gt=0)
    """Cores, where `cpu` is auto."""
    gpu: float = Field(ge=0, le=1)
    """Share of a GPU, where `gpu` is auto."""

    @property
    def kind(self) -> tuple[str, int, str]:
        """Which class, as `class_of` tells it."""
        return self.backbone, self.batch_size, self.precision


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "amount"


Auto = Annotated[Literal["auto"], Tag("text")]
Cpus = Annotated[Auto | Annotated[float, Field(gt=0), Tag("amount")], Discriminator(_kind)]
Gpus = Annotated[Auto | Annotated[float, Field(ge=0), Tag("amount")], Discriminator(_kind)]


class Resources(Section):
    """What one trial takes, and how many run at once."""

    cpu: Cpus = 1.0
    """CPU cores; torch gets as many threads. auto: as large a part of the cores as the trial has of
    the GPU or, without one, as memory allows."""
    gpu: Gpus = 0.0
    """Share of a GPU (0.25: four trials on one), or a whole number. auto: for each backbone and
    batch size the smallest share 1/k into which its memory fits, measured before the search."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at once; null: as many as there is room for."""
    measured: tuple[Footprint, ...] = ()
    """What `auto` goes by; empty: it is measured before the search begins."""

    @field_validator("gpu")
    @classmethod
    def _is_whole_beyond_one(cls, value: Any) -> Any:
        if value != "auto" and value > 1 and value != int(value):
            raise ValueError(f"must be a fraction of 1 or a whole number, got {value:g}")
        return value

    @property
    def must_measure(self) -> bool:
        """Whether something is `auto`, and nothing is known about it yet."""
        return "auto" in (self.cpu, self.gpu) and not self.measured


@dataclass(frozen=True)
class Share:
    """What one trial takes."""

    cpu: float
    """Cores."""
    gpu: float
    """Of a GPU, at most 1; or a number of whole GPUs."""


@dataclass(frozen=True)
class Node:
    """A machine as Ray counts it."""

    cpus: float
    gpus: float


def class_of(config: Config) -> tuple[str, int, str]:
    """What a trial's memory and speed depend on most: backbone, batch size, precision."""
    return config.model.backbone, config.data.batch_size, config.run.precision


def name_of(kind: tuple[str, int, str]) -> str:
    """A class of configs, as `class_of` tells it, for a person."""
    return "{}, batch {}, {}".format(*kind)


def share_of(want: Resources, config: Config, *, alone: bool = False) -> Share:
    """What a trial of this config takes.

    Args:
        want: fixed numbers, or `auto` with what was measured. A class of configs that was not
            measured gets a whole GPU, and as many cores as any class has.
        config: of the trial.
        alone: give it all of its GPU.
    """
    found = [each for each in want.measured if each.kind == class_of(config)]
    cpu = max(each.cpu for each in found or want.measured) if want.cpu == "auto" else want.cpu
    gpu = (found[0].gpu if found else 1.0) if want.gpu == "auto" else want.gpu
    return Share(cpu, max(gpu, 1.0) if alone and gpu > 0 else gpu)


def all_shares(want: Resources) -> list[Share]:
    """What trials may take, the least first."""
    known = want.measured or (None,)
    found = {
        Share(
            cpu=(each.cpu if each else 1.0) if want.cpu == "auto" else want.cpu,
            gpu=(each.gpu if each else 1.0) if want.gpu == "auto" else want.gpu,
        )
        for each in known
    }
    return sorted(found, key=lambda share: (share.gpu, share.cpu))


def smallest_share(want: Resources) -> Share:
    """The least that a trial may take."""
    return all_shares(want)[0]


def trials_at_once(memory: int, capacity: int, *, on_gpu: bool) -> int:
    """Trials of a class that share a device: as many as fit with a margin; at least one.

    Args:
        memory: bytes that a trial of the class reserves at most.
        capacity: bytes of the device.
        on_gpu: whether it is a GPU, where each process needs a context, too.
    """
    return max(1, int(capacity / (MARGIN * memory + (CONTEXT if on_gpu else 0))))


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


def at_once(want: Resources, config: Config, nodes: Sequence[Node]) -> int:
    """Trials of this config that run at once: as many as asked for, if there is room."""
    slots = room(nodes, [], share_of(want, config))
    return min(slots, want.concurrency or slots)


@dataclass
class _Bin:
    """What is left of a node."""

    cpus: float
    gpus: list[float]

    def place(self, share: Share) -> bool:
        """Take a share, if it fits."""
        if self.cpus + TINY < share.cpu:
            return False
        part, whole = (share.gpu, 1) if share.gpu < 1 else (1.0, int(share.gpu))
        free = [i for i, left in enumerate(self.gpus) if left + TINY >= part]
        if share.gpu > 0:
            if len(free) < whole:
                return False
            for i in free[:whole]:
                self.gpus[i] -= part
        self.cpus -= share.cpu
        return True
