"""A study whose log is written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.log.events import (
    Ask,
    End,
    Event,
    Move,
    Outcome,
    Phase,
    Report,
    Started,
    Tested,
    Unsealed,
)
from search.log.journal import Journal
from search.log.study import Study
from search.space.loading import parse_space

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"optim.lr_per_256": {"loguniform": [0.1, 1]}},
    "budget": {"total_epochs": 36, "trials": 8},
    "scheduler": {"asha": {"grace": 1, "reduction": 3, "promotion": False}},
    "confirm": {"top": 2, "pick_seeds": 1, "seeds": 3, "references": False},
}


class WrittenStudy(Study):
    """It was started at 1000 s, and each event comes 10 s after the one before."""

    def __init__(self, path: Path, *, val_counts: Any = (), **changes: Any) -> None:
        """In the folder `path`/x; `changes` of `TREE`; `val_counts`: images of val by class."""
        self.tree, self.now = TREE | changes, 1000.0
        self.here: dict[str, Any] = {
            "study": "x",
            "commit": "",
            "versions": {},
            "val_counts": val_counts,
        }
        started = Started(**self.here, space=self.tree, time=self.now)
        log = Journal.create(path / "x" / "events.jsonl", started)
        super().__init__(parse_space(self.tree, "x"), log)

    def add(self, kind: type[Event], **values: Any) -> None:
        """Any event."""
        self.now += 10
        self.log.append(kind(time=self.now, **values))

    def ask(
        self, arm: str, number: int, phase: Phase = "search", of: int | None = None, **more: Any
    ) -> None:
        """A trial begins; unless given, its one param depends on its number."""
        more = {"params": {"optim.lr_per_256": 0.1 + number / 100}, "seed": number} | more
        self.add(Ask, arm=arm, phase=phase, number=number, of=of, **more)

    def report(
        self, arm: str, number: int, epoch: int, score: float, phase: Phase = "search", **more: Any
    ) -> None:
        """Half a second an epoch, 100 views each; half a second for checkpoints in all."""
        usual = {"views": 100 * epoch, "seconds": epoch / 2, "decision": "continue"}
        usual["checkpoint_seconds"] = 0.5
        usual["metrics"] = {"val/probe_top1": score}
        self.add(Report, arm=arm, phase=phase, number=number, epoch=epoch, **usual | more)

    def end(
        self, arm: str, number: int, outcome: Outcome, phase: Phase = "search", **more: Any
    ) -> None:
        """A trial ends."""
        self.add(End, arm=arm, phase=phase, number=number, outcome=outcome, **more)

    def trial(
        self, arm: str, number: int, score: float, phase: Phase = "search", of: int | None = None
    ) -> None:
        """One that is trained to the end."""
        self.ask(arm, number, phase, of)
        self.report(arm, number, self.space.rungs[-1], score, phase)
        self.end(arm, number, "completed", phase)

    def train(self, ask: Ask, score: float = 0.5, outcome: Outcome = "completed") -> None:
        """What was asked for begins, if it has not, and ends; stopped, it is at its first rung."""
        if ask.key not in self.log.trials:
            self.log.append(ask)
        if outcome in ("completed", "stopped"):
            epoch = self.evaluated_at(ask)[0 if outcome == "stopped" else -1]
            self.report(ask.arm, ask.number, epoch, score, ask.phase)
        self.end(ask.arm, ask.number, outcome, ask.phase)

    def follow(
        self,
        plan: Callable[[], Move | None],
        score: Callable[[Ask], float] = lambda ask: 0.5,
        outcome: Callable[[Ask], Outcome] = lambda ask: "completed",
        most: int = 999,
    ) -> list[Ask]:
        """Train what a plan asks for, one after the other."""
        asked: list[Ask] = []
        while len(asked) < most and (ask := plan()) is not None:
            assert isinstance(ask, Ask)
            self.train(ask, score(ask), outcome(ask))
            asked.append(ask)
        return asked

    def test(self, arm: str, numbers: list[int], n_scored: int) -> None:
        """Open the test images for confirmed runs, and score some of them."""
        opened = {"commit": "", "data_hash": "", "classes": ["a"], "labels": ""}
        self.add(Unsealed, arm=arm, phase="confirm", numbers=numbers, **opened)
        for number in numbers[:n_scored]:
            key = {"arm": arm, "phase": "confirm", "number": number}
            self.add(Tested, **key, metrics={}, n_images=1, correct={})

    def restart(self, here: dict[str, Any] | None = None, **changes: Any) -> None:
        """Another process goes on with it: `changes` of its space, `here` of what is around it."""
        self.tree = self.tree | changes
        self.here |= here or {}
        self.space = parse_space(self.tree, "x")
        self.add(Started, **self.here, space=self.tree)
