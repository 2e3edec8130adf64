"""The sealed test images: opened here and nowhere else, once for each row, and each time is logged.

A row (a winner or a reference) is opened after all of its runs have ended. The opening is in the
log before an image is looked at.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from search.confirm import Row, budget_problems, final_rows, winner
from search.events import Scored, Unsealed
from search.journal import Journal, Trial
from search.retrained import predict_by_run
from search.space import Space
from search.verdict import MIN_SEEDS
from supcon.data import Split, Splits, fingerprint, load_test
from supcon.scoring import accuracies


def open_test(space: Space, journal: Journal, data: Splits) -> None:
    """Score the runs that wait for it on the test images.

    Nothing is opened while an arm's winner is open, or if the searches were so unequal that there
    will be no verdict: who has seen a test score decides otherwise.
    """
    if any(journal.best(arm) and winner(space, journal, arm) is None for arm in space.arms):
        return
    if len(space.arms) > 1 and budget_problems(space, journal)[0] is not None:
        return  # there will be no verdict: what --extend will find must be blind
    waiting = [(row, runs) for row in final_rows(space, journal) if (runs := _ready(row, journal))]
    left = [t for t in journal.trials.values() if _is_unsealed(t, journal) and t.tested is None]
    if not waiting and not left:
        return
    test = load_test(space.config.data)
    data_hash, labels = fingerprint([test], data.classes), pack_labels(test.labels)
    for row, runs in waiting:
        journal.append(
            Unsealed(
                arm=row.arm,
                phase=row.phase,
                numbers=[run.ask.number for run in runs],
                commit=journal.latest.commit,
                data_hash=data_hash,
                classes=list(data.classes),
                labels=labels,
            )
        )
        left += runs
    for run in left:
        _score(space, journal, data, test, run)


def _ready(row: Row, journal: Journal) -> list[Trial]:
    """The runs of a row that are to be tested now: if the row is whole, or enough of it is."""
    completed = row.completed(journal)
    if not row.is_over(journal) and len(completed) < MIN_SEEDS:
        return []
    waiting = [run for run in completed if run.tested is None]
    return [run for run in waiting if not _is_unsealed(run, journal)]


def _is_unsealed(run: Trial, journal: Journal) -> bool:
    ask = run.ask
    return any(
        (opening.arm, opening.phase) == (ask.arm, ask.phase) and ask.number in opening.numbers
        for opening in journal.openings
    )


def _score(space: Space, journal: Journal, data: Splits, test: Split, run: Trial) -> None:
    predictions = predict_by_run(space, journal, run, data, test.images)
    truth = torch.tensor(test.labels)
    journal.append(
        Scored(
            arm=run.ask.arm,
            phase=run.ask.phase,
            number=run.ask.number,
            metrics=accuracies(predictions, truth, "test"),
            n_images=len(test),
            correct={name: pack(p == truth) for name, p in predictions.items()},
        )
    )


def correctness(runs: list[Trial], classifier: str) -> npt.NDArray[np.bool_]:
    """(n runs, N images) which test images the classifier got right."""
    tested = [run.tested for run in runs if run.tested]
    return np.stack([unpack(t.correct[classifier], t.n_images) for t in tested])


def pack(correct: Tensor) -> str:
    """(N,) bool -> text; `unpack` is the reverse."""
    return base64.b64encode(np.packbits(correct.numpy()).tobytes()).decode()


def unpack(text: str, n: int) -> npt.NDArray[np.bool_]:
    """The first `n` bits of what `pack` made."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n)
    return bits.astype(bool)


def pack_labels(labels: npt.NDArray[np.int64]) -> str:
    """(N,) class ids below 2**32 -> text; `unpack_labels` is the reverse."""
    return base64.b64encode(zlib.compress(labels.astype("<u4").tobytes())).decode()


def unpack_labels(text: str) -> npt.NDArray[np.int64]:
    """What `pack_labels` packed."""
    raw = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(raw, dtype="<u4").astype(np.int64)
