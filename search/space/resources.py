"""What a trial takes of a machine: as it is asked for, and as it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from supcon.config import Config
from supcon.parsing import Section


class ConfigKind(NamedTuple):
    """What a trial's memory and speed depend on most."""

    backbone: str
    batch_size: int
    precision: str
    memory_mode: str

    @classmethod
    def of(cls, config: Config) -> ConfigKind:
        """That of a config."""
        run = config.run
        return cls(config.model.backbone, config.data.batch_size, run.precision, run.memory)

    def __str__(self) -> str:
        mode = "" if self.memory_mode in ("auto", "plain") else f", {self.memory_mode}"
        return f"{self.backbone}, batch {self.batch_size}, {self.precision}{mode}"


class Footprint(Section):
    """What a kind of config was measured to take, and the share that it gets for it."""

    backbone: str
    batch_size: int
    precision: str
    memory_mode: str = "plain"
    """`run.memory` of its trials: as the space says or, where that is auto, the first that fits."""
    memory: int = Field(gt=0)
    """Bytes at most, of a GPU or else of the process."""
    views_per_second: float = Field(gt=0)
    """Of one trial that has the device to itself."""
    cpu: float = Field(gt=0)
    """Cores, where `cpu` is auto."""
    gpu: float = Field(ge=0, le=1)
    """Share of a GPU, where `gpu` is auto."""
    usable: float = Field(1.0, ge=0, le=1)
    """Part of the GPU's memory that was free to be shared out."""
    busy: float | None = Field(None, gt=0, le=1)
    """Part of a step in which the GPU computes, of a trial that has it to itself."""

    @property
    def kind(self) -> ConfigKind:
        """Which kind of config."""
        return ConfigKind(self.backbone, self.batch_size, self.precision, self.memory_mode)

    def is_of(self, config: Config) -> bool:
        """Whether a config is of that kind, or becomes so when its `run.memory` is settled."""
        asked = ConfigKind.of(config)
        if asked.memory_mode == "auto":
            asked = asked._replace(memory_mode=self.memory_mode)
        return self.kind == asked


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "amount"


Auto = Annotated[Literal["auto"], Tag("text")]
Cpus = Annotated[Auto | Annotated[float, Field(ge=0.01), Tag("amount")], Discriminator(_kind)]
Gpus = Annotated[Auto | Annotated[float, Field(ge=0), Tag("amount")], Discriminator(_kind)]


class Resources(Section):
    """What one trial takes, and how many run at once."""

    cpu: Cpus = 1.0
    """CPU cores; torch gets as many threads. auto: as large a part of the cores as the trial has of
    the GPU or, without one, as memory allows."""
    gpu: Gpus = 0.0
    """Share of a GPU (0.25: four trials on one), at most 1. auto: for each backbone and batch size
    the smallest share 1/k into which its memory fits, and no smaller than k trials need to keep the
    GPU busy, measured before the search; 0 where there is no GPU or run.device is cpu."""
    concurrency: int | None = Field(None, ge=1, le=10**6)
    """Trials at once; null: as many as there is room for."""

    @model_validator(mode="before")
    @classmethod
    def _without_measurements(cls, value: Any) -> Any:
        """Earlier versions wrote into a space that nothing was measured yet."""
        if isinstance(value, dict) and value.get("measured") in ([], ()):
            return {key: each for key, each in value.items() if key != "measured"}
        return value

    @field_validator("gpu")
    @classmethod
    def _is_no_crumb(cls, value: Any) -> Any:
        if value != "auto" and 0 < value < 0.01:  # Ray counts in ten thousandths
            raise ValueError(f"must be 0 or at least 0.01, got {value:g}")
        return value

    @property
    def is_auto(self) -> bool:
        """Whether something of it is to be measured."""
        return "auto" in (self.cpu, self.gpu)


@dataclass(frozen=True)
class Share:
    """What one trial takes."""

    cpu: float
    """Cores."""
    gpu: float
    """Of a GPU, at most 1."""


@dataclass(frozen=True)
class Shares:
    """What trials take: fixed numbers or, where they are `auto`, what was measured."""

    want: Resources
    measured: tuple[Footprint, ...] = ()

    def of(self, config: Config, *, alone: bool = False) -> Share:
        """What a trial takes.

        Args:
            config: of the trial. A kind of config that was not measured gets a whole GPU, and as
                many cores as any kind has.
            alone: give it all of its GPU.
        """
        found = [each for each in self.measured if each.is_of(config)]
        share = self._of(found[0] if found else None)
        gpu = max(share.gpu, 1.0) if alone and share.gpu > 0 else share.gpu
        return Share(share.cpu, gpu)

    def memory_of(self, config: Config, share: Share) -> float:
        """Part of a GPU's memory that a trial may take with its share; a whole one has no limit."""
        found = [each.usable for each in self.measured if each.is_of(config)]
        usable = found[0] if found and self.want.gpu == "auto" else 1.0
        return share.gpu * usable if share.gpu < 1 else 1.0

    def mode_of(self, config: Config) -> str:
        """`run.memory` of a trial; plain where it is open, and its kind was not measured."""
        found = [each.memory_mode for each in self.measured if each.is_of(config)]
        open_mode = found[0] if found else "plain"
        return open_mode if config.run.memory == "auto" else config.run.memory

    def all(self) -> list[Share]:
        """What trials may take, the least first."""
        found = {self._of(each) for each in self.measured or (None,)}
        return sorted(found, key=lambda share: (share.gpu, share.cpu))

    def _of(self, each: Footprint | None) -> Share:
        """What a kind of config takes; None: it was not measured, or nothing was by now."""
        cpu, gpu = (each.cpu, each.gpu) if each else (self._most_cores(), 1.0)
        return Share(
            cpu=cpu if self.want.cpu == "auto" else self.want.cpu,
            gpu=gpu if self.want.gpu == "auto" else self.want.gpu,
        )

    def _most_cores(self) -> float:
        return max((each.cpu for each in self.measured), default=1.0)
