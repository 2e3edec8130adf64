"""The winners again, on fresh seeds; then, and only here, the sealed test images.

Each arm's winner is trained anew on seeds that no search trial had, by the same trainable. The test
split is opened in this process, once for each of these runs, after all of them have ended.
"""

from __future__ import annotations

import base64

import numpy as np
import torch
from torch import Tensor

from search.events import Ask, Journal, Trial, Unsealed
from search.space import Space
from supcon.data import Splits, load_test
from supcon.device import pick_device
from supcon.scoring import accuracies
from supcon.trained import load_trained, predict


class ConfirmPlan:
    """The confirmation runs, arm by arm in turn."""

    def __init__(self, space: Space, journal: Journal) -> None:
        self.space, self.journal = space, journal

    def __call__(self) -> Ask | None:
        """The next run, or None when each winner has its seeds."""
        for number in range(self.space.confirm.seeds):
            for arm in self.space.arms:
                winner = self.journal.best(arm)
                if winner is not None and len(runs_of(winner, self.journal)) == number:
                    fresh = len(self.journal.of(arm, "confirm"))  # a study that was extended has
                    return Ask(  # confirmed other winners before
                        arm=arm,
                        phase="confirm",
                        number=fresh,
                        params=winner.ask.params,
                        seed=self.space.trial_seed(arm, "confirm", fresh),
                        of=winner.ask.number,
                    )
        return None

    def is_over(self) -> bool:
        """Whether nothing is left to start or to finish."""
        return self() is None and not self.journal.unfinished("confirm")


def runs_of(winner: Trial, journal: Journal) -> list[Trial]:
    """The confirmation runs of a search trial."""
    runs = journal.of(winner.ask.arm, "confirm")
    return [run for run in runs if run.ask.of == winner.ask.number]


def open_test(space: Space, journal: Journal, data: Splits) -> None:
    """Score every confirmed run that was not tested yet on the test images, and log it."""
    waiting = [
        trial
        for arm in space.arms
        if (winner := journal.best(arm)) is not None
        for trial in runs_of(winner, journal)
        if trial.outcome == "completed" and trial.tested is None
    ]
    if not waiting:
        return
    test = load_test(space.config.data)
    for trial in waiting:
        model = journal.path.parent / "trials" / trial.name / "model.pt"
        device = pick_device(space.arm_config(trial.ask.arm).run.device)
        trained, config = load_trained(model, device)
        predictions = predict(trained, config, data.train, test.images)
        truth = torch.tensor(test.labels)
        ask = trial.ask
        journal.append(
            Unsealed(
                arm=ask.arm,
                phase=ask.phase,
                number=ask.number,
                metrics=accuracies(predictions, truth, "test"),
                n_images=len(test),
                correct={name: pack(p == truth) for name, p in predictions.items()},
            )
        )


def pack(correct: Tensor) -> str:
    """(N,) bool -> text; `unpack` is the reverse."""
    return base64.b64encode(np.packbits(correct.numpy()).tobytes()).decode()


def unpack(text: str, n: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The first `n` bits of what `pack` made."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n)
    return bits.astype(bool)


def confirmed(journal: Journal, arm: str) -> list[Trial]:
    """The confirmation runs of the arm's winner that were tested."""
    winner = journal.best(arm)
    runs = runs_of(winner, journal) if winner is not None else []
    return [run for run in runs if run.tested is not None]
