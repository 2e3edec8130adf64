"""What a trial takes of a machine, and how many trials fit: Ray's bookkeeping, without Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from supcon.config import Config
from supcon.parsing import Section


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
