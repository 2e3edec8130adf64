"""The sealed test images: opened here and nowhere else, once for each row, and each time is logged.

A row (a winner or a reference) is opened after all of its runs have ended. The opening is in the
log before an image is looked at. All openings of a study must find the same images.
"""

from __future__ import annotations

import base64
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from search.judge.comparison import MIN_SEEDS
from search.judge.fairness import budget_problems
from search.judge.trained_models import predict_by_run
from search.log.events import Scored, Unsealed
from search.log.journal import Journal, Trial
from search.space.space import Space
from search.strategy.winners import Row, final_rows, winner
from supcon.evaluation.scores import accuracies
from supcon.images.files import ImageFiles
from supcon.images.loading import find_test, load_test
from supcon.images.split import Split, Splits, fingerprint
from supcon.parsing import UserError


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
    found = check_same_test(space, journal, data)
    test = load_test(space.config.data)
    for row, runs in waiting:
        journal.append(
            Unsealed(
                arm=row.arm,
                phase=row.phase,
                numbers=[run.ask.number for run in runs],
                commit=journal.latest.commit,
                data_hash=found.data_hash,
                of_files=found.of_files,
                classes=list(found.classes),
                labels=pack_labels(np.array(found.labels)),
            )
        )
        left += runs
    for run in left:
        _score(space, journal, data, test, run)


@dataclass(frozen=True)
class Identity:
    """What tells one set of test images from another, whichever way they are loaded."""

    data_hash: str
    of_files: bool
    """The hash is of a folder's files, else of pixels."""
    is_exact: bool
    """Otherwise the hash says nothing against another one; see `search.log.events.Unsealed`."""
    classes: tuple[str, ...]
    labels: tuple[int, ...]

    def is_unlike(self, other: Identity) -> bool:
        """Whether these are certainly other images."""
        if (self.classes, self.labels) != (other.classes, other.labels):
            return True
        is_known = self.is_exact and other.is_exact
        return is_known and self.data_hash != other.data_hash

    def __str__(self) -> str:
        return f"{len(self.labels)} images, hash {self.data_hash[:12]}"


def identify(space: Space, opening: Unsealed) -> Identity:
    """The images that an opening found."""
    is_exact = opening.of_files or space.config.data.name != "folder"
    classes, labels = tuple(opening.classes), tuple(unpack_labels(opening.labels).tolist())
    return Identity(opening.data_hash, opening.of_files, is_exact, classes, labels)


def check_same_test(space: Space, journal: Journal, data: Splits) -> Identity:
    """The test images that are there now; their files are read, not decoded.

    Raises:
        UserError: they are not those that the study opened before.
    """
    test = find_test(space.config.data)
    now = Identity(
        data_hash=fingerprint([test], data.classes, reads_files=True),
        of_files=isinstance(test.images, ImageFiles),
        is_exact=True,
        classes=data.classes,
        labels=tuple(test.labels.tolist()),
    )
    for then in (identify(space, opening) for opening in journal.openings):
        if now.is_unlike(then):
            raise UserError(
                f"data.root: the test images are not those that {journal.path.parent} was tested "
                f"on before ({then}; now {now}); put them back and go on with --resume, or start "
                f"another study"
            )
    return now


def unlike_images(space: Space, journal: Journal, runs: Sequence[Trial]) -> str | None:
    """Why test scores of these runs cannot be compared, if they are not of the same images.

    Earlier versions let the images change between two openings.
    """
    own = [opening for opening in journal.openings if any(is_for(opening, run) for run in runs)]
    opened = [identify(space, opening) for opening in own]
    pairs = [f"{a}; then {b}" for a, b in itertools.combinations(opened, 2) if a.is_unlike(b)]
    counts = sorted({run.tested.n_images for run in runs if run.tested})
    if not pairs and len(counts) > 1:  # older logs may hold scores without an opening
        pairs = [" and ".join(f"{n} images" for n in counts)]
    if pairs:
        return f"its runs were not tested on the same images ({pairs[0]}); search again"
    return None


def _ready(row: Row, journal: Journal) -> list[Trial]:
    """The runs of a row that are to be tested now: if the row is whole, or enough of it is."""
    completed = row.completed(journal)
    if not row.is_over(journal) and len(completed) < MIN_SEEDS:
        return []
    waiting = [run for run in completed if run.tested is None]
    return [run for run in waiting if not _is_unsealed(run, journal)]


def _is_unsealed(run: Trial, journal: Journal) -> bool:
    return any(is_for(opening, run) for opening in journal.openings)


def is_for(opening: Unsealed, run: Trial) -> bool:
    """Whether the test images were opened for this run."""
    ask = run.ask
    is_row = (opening.arm, opening.phase) == (ask.arm, ask.phase)
    return is_row and ask.number in opening.numbers


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
