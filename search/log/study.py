"""A study: what is searched, what has happened, and where it lies. The noun that all else is of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.log.events import Ask
from search.log.folder import StudyFolder
from search.log.journal import Journal
from search.space.loading import read_space
from search.space.resources import Shares
from search.space.space import Space
from supcon.config import Config, override


class Study:
    """A space and the log of its search; what is derived from the two is remembered.

    Functions of a study that are marked `remembered` look once an event, however often they are
    asked.
    """

    def __init__(self, space: Space, log: Journal) -> None:
        self.space, self.log = space, log
        self.folder = StudyFolder(log.path.parent)

    @classmethod
    def open(cls, folder: Path) -> Study:
        """A study to be looked at, with the space that its log goes by.

        Raises:
            UserError: there is none, or its log is damaged.
        """
        log = Journal.open(StudyFolder(folder).events)
        return cls(read_space(log.latest.space, str(log.path)), log)

    @property
    def arms(self) -> list[str]:
        """Their names, in the order of the space."""
        return list(self.space.arms)

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.name

    @property
    def shares(self) -> Shares:
        """What its trials take of a machine."""
        return Shares(self.space.resources, self.log.measured)

    def config_of(self, ask: Ask) -> Config:
        """The complete config of a trial."""
        config = self.space.trial_config(ask.arm, ask.changes, ask.seed)
        found: dict[str, Any] = {**self.log.started.weights.get(config.model.weights_name, {})}
        if self.log.measured:
            found["run.memory"] = self.shares.mode_of(config)
            if config.run.threads == 0:
                found["run.threads"] = max(1, int(self.shares.of(config).cpu))
        return override(config, found, f"trial of {ask.arm}") if found else config

    def length_of(self, ask: Ask) -> int:
        """Epochs of a trial that is trained to the end."""
        return int(ask.settings.get("run.epochs", self.space.config.run.epochs))

    def evaluated_at(self, ask: Ask) -> Sequence[int]:
        """Epochs after which a trial reports."""
        found: Sequence[int] = ask.settings.get("run.eval_at", self.space.rungs)
        return found or (0,)  # without training, at its start

    def known(self) -> dict[Any, Any]:
        """What was found since the last event."""
        return self.log.known()
