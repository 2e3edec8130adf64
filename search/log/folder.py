"""Where things lie in the folder of a study; which study is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supcon.parsing import UserError, is_there

EVENTS = "events.jsonl"


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study, `results/<study>/`; results/README.md says what each file holds."""

    path: Path

    @property
    def name(self) -> str:
        """The study's name."""
        return self.path.name

    @property
    def events(self) -> Path:
        """The log: the truth."""
        return self.path / EVENTS

    @property
    def summary(self) -> Path:
        """The facts of the report, for programs."""
        return self.path / "summary.json"

    @property
    def audit(self) -> Path:
        """The copies among the images, a row for each pair."""
        return self.path / "audit.csv"

    @property
    def page(self) -> Path:
        """The report to look at."""
        return self.path / "report.html"

    @property
    def images(self) -> Path:
        """Which image is in which part, where they are somebody's own files."""
        return self.path / "images.csv"

    @property
    def database(self) -> Path:
        """The mirror for optuna-dashboard."""
        return self.path / "study.db"

    @property
    def tensorboard(self) -> Path:
        """The curves of all trials."""
        return self.path / "tensorboard"

    def best(self, arm: str) -> Path:
        """The config of an arm's winner."""
        return self.path / "best" / f"{arm}.yaml"

    def trial(self, name: str) -> Path:
        """The folder of a trial."""
        return self.path / "trials" / name

    def checkpoint(self, name: str) -> Path:
        """What a trial goes on from, while it runs."""
        return self.trial(name) / "last.pt"

    def model(self, name: str) -> Path:
        """What came of a run that is to be tested."""
        return self.trial(name) / "model.pt"


def newest(logs: Iterable[Path]) -> StudyFolder | None:
    """The study whose log was written last."""
    logs = (log for log in logs if not log.parent.name.startswith("."))  # half made
    last = max(logs, key=lambda log: log.stat().st_mtime, default=None)
    return None if last is None else StudyFolder(last.parent)


def newest_of(results: Path, name: str) -> StudyFolder | None:
    """The newest study of a space called `name`, in a folder of studies."""
    studies = re.compile(rf"{re.escape(name)}(-\d+)?")
    logs = results.glob(f"*/{EVENTS}")
    return newest(log for log in logs if studies.fullmatch(log.parent.name))


def find_study(path: Path) -> StudyFolder:
    """A study, or the newest study in a folder of studies.

    Raises:
        UserError: there is none.
    """
    if is_there(path / EVENTS):
        return StudyFolder(path)
    found = newest([*path.glob(f"*/{EVENTS}"), *path.glob(f"*/repeat-*/{EVENTS}")])
    if found is None:
        raise UserError(
            f"{path}: holds no study; give a study's folder, for example results/digits"
        )
    return found
