"""A written study whose runs all end with one of two models, an arm each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.course import reopen
from search.engine.shared_images import SharedImages
from search.judge.sealed import open_test
from search.log.events import Ask, Outcome, Unsealed
from search.preflight.which_study import Chosen
from supcon.config import Config
from supcon.evaluation.trained import Trained, save_trained
from supcon.images.split import Splits
from tests.written import WrittenStudy

CHANGES: dict[str, Any] = {
    "arms": {"supcon": {"loss.name": "supcon"}, "ce": {"loss.name": "ce"}},
    "budget": {"trials": 3},
    "scheduler": "none",
    "confirm": {"top": 1, "seeds": 3, "references": False},
}


class TrainedStudy(WrittenStudy):
    def __init__(self, path: Path, models: dict[str, Trained], config: Config, data: Splits):
        base = config.model_dump(mode="json")
        del base["run"]["seed"], base["run"]["eval_at"], base["probe"]["selection"]
        super().__init__(path, base=base, **CHANGES)
        self.models, self.data = models, data

    def train(self, ask: Ask, score: float = 0.5, outcome: Outcome = "completed") -> None:
        super().train(ask, score, outcome)
        file = self.folder.model(self.log.trials[ask.key].name)
        file.parent.mkdir(parents=True)
        save_trained(self.models[ask.arm], self.config_of(ask), self.data, file)

    def search(self, arm: str, number: int, score: float) -> None:
        params = {"optim.lr_per_256": 0.2 + number / 10}
        self.train(Ask(arm=arm, phase="search", number=number, params=params, seed=0), score)

    def confirm(self, arm: str, of: int, seeds: int) -> None:
        params = {"optim.lr_per_256": 0.2 + of / 10}
        for _ in range(seeds):
            number = len(self.log.of(arm, "confirm"))
            self.train(
                Ask(arm=arm, phase="confirm", number=number, params=params, seed=number, of=of)
            )

    def confirm_both(self) -> None:
        """Both winners on three seeds each, and the test images opened for them."""
        for arm in self.arms:
            self.confirm(arm, 0, 3)
        self.open_test()

    def open_test(self) -> list[Unsealed]:
        open_test(self, self.data)
        return self.log.openings

    def go_on(self) -> None:
        """As with --resume."""
        self.log.close()
        chosen = Chosen(self.folder, self.space, ())
        self.log = reopen(chosen, SharedImages(self.data), "again").log


def both_searched(
    path: Path, models: dict[str, Trained], config: Config, data: Splits
) -> TrainedStudy:
    """Both arms searched, a trial each."""
    study = TrainedStudy(path, models, config, data)
    for arm in study.arms:
        study.search(arm, 0, 0.5)
    return study
