"""The sealed test images: opened here and nowhere else, once for each row, and each time is logged.

A row (a winner or a reference) is opened after all of its runs have ended. The opening is in the
log before an image is looked at. All openings of a study must find the same images.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic.dataclasses import dataclass as documented

from search.judge.comparison import MIN_SEEDS
from search.judge.fairness import budget_problems
from search.judge.trained_models import Place, SavedModel, here, predict_by_run, saved_model
from search.log.events import Tested, Unsealed
from search.log.packed import pack, pack_labels, unpack, unpack_labels
from search.log.study import Study
from search.log.trial import Trial
from search.log.wording import show_time
from search.space.space import Space
from search.strategy.giving_up import is_in_vain
from search.strategy.winners import SeedRuns, final_runs, winner
from supcon.evaluation.scores import accuracies
from supcon.evaluation.trained import embed_with
from supcon.images.files import ImageFiles
from supcon.images.loading import find_test, load_test, load_unknown
from supcon.images.split import Split, Splits, fingerprint
from supcon.parsing import DOCUMENTED, UserError


def open_test(study: Study, data: Splits, place: Place = here) -> None:
    """Score the runs that wait for it on the test images.

    Nothing is opened while an arm's winner is open, or if so many arms gave up over trials that
    came to nothing that none is left to compare, or the searches were so unequal that there will be
    no verdict: who has seen a test score decides otherwise. Nor before a model of each row has been
    asked for two training images: what lacks a device, a precision or a file fails by these.

    Args:
        study: the study.
        data: train and val.
        place: where the models are asked.

    Raises:
        UserError: the test images are not those of earlier openings, or a model cannot be asked.
    """
    if is_in_vain(study):
        return
    if any(study.log.best(arm) and winner(study, arm) is None for arm in study.arms):
        return
    if budget_problems(study)[0] is not None:
        return  # there will be no verdict: what --extend will find must be blind
    rows = final_runs(study)
    waiting = [(each, runs) for each in rows if (runs := _ready(each, study))]
    left = [t for t in study.log.trials.values() if _is_unsealed(t, study) and t.tested is None]
    if not waiting and not left:
        return
    found = check_same_test(study, data)
    test = load_test(study.space.config.data)
    _rehearse(study, data, test, [*left, *(run for _, runs in waiting for run in runs)], place)
    for each, runs in waiting:
        study.log.append(
            Unsealed(
                arm=each.arm,
                phase=each.phase,
                numbers=[run.ask.number for run in runs],
                commit=study.log.latest.commit,
                data_hash=found.data_hash,
                of_files=found.of_files,
                classes=list(found.classes),
                labels=pack_labels(np.array(found.labels)),
                groups="" if test.groups is None else pack_labels(test.groups),
            )
        )
        left += runs
    # After a restart in the order in which they would have been scored without it.
    order = {(each.arm, each.phase): i for i, each in enumerate(rows)}
    left.sort(key=lambda t: (order.get((t.ask.arm, t.ask.phase), len(rows)), t.ask.number))
    for run in left:
        _score(study, data, test, run, place)


def _rehearse(study: Study, data: Splits, test: Split, runs: list[Trial], place: Place) -> None:
    """Ask a model of each row as it will be asked for the test images, but for two of train."""
    rows: dict[tuple[str, str], list[Trial]] = {}
    for run in runs:
        rows.setdefault((run.ask.arm, run.ask.phase), []).append(run)
    two = data.train.take(np.arange(2))
    root = test.images.root.resolve() if isinstance(test.images, ImageFiles) else None
    for same in rows.values():  # of one row, and so of one config
        models = [saved_model(study, run) for run in same]
        place(study.config_of(same[0].ask), _try_out, models, two, root)


def _try_out(models: list[SavedModel], two: Split, root: Path | None) -> None:
    if root is not None and not os.access(root, os.R_OK):
        raise UserError(
            f"data.root: {socket.gethostname()} cannot read {root}; mount it there, as test images "
            f"are streamed from it"
        )
    for model in models:
        if not model.path.exists():
            raise UserError(f"{model.path}: there is no such file; put it back")
    trained, config = models[0].load()  # the others need what it needs
    embed_with(trained, config, two.images)


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


@documented(frozen=True, config=DOCUMENTED)
class Opening:
    """A time that the test images were opened; None: an older log does not tell."""

    what: str
    """Arm and phase of the runs."""
    when: str | None
    commit: str | None
    data_hash: str | None
    of_files: bool | None
    """Whether the hash is of a folder's files; else of pixels."""
    runs: list[str]


def openings(study: Study) -> list[Opening]:
    """The ledger of the test images; of an opening that an older log lacks, its scores tell."""
    unlogged: dict[str, list[str]] = {}
    for trial in study.log.trials.values():
        if trial.tested and not _is_unsealed(trial, study):
            unlogged.setdefault(f"{trial.ask.arm}, {trial.ask.phase}", []).append(trial.name)
    return [Opening(what, None, None, None, None, runs) for what, runs in unlogged.items()] + [
        Opening(
            what=f"{opening.arm}, {opening.phase}",
            when=show_time(opening.time),
            commit=opening.commit,
            data_hash=opening.data_hash,
            of_files=opening.of_files,
            runs=[study.log.trials[opening.arm, opening.phase, n].name for n in opening.numbers],
        )
        for opening in study.log.openings
    ]


def check_same_test(study: Study, data: Splits) -> Identity:
    """The test images that are there now; their files are read, not decoded.

    Raises:
        UserError: they are not those that the study opened before.
    """
    test = find_test(study.space.config.data)
    now = Identity(
        data_hash=fingerprint([test], data.classes, reads_files=True),
        of_files=isinstance(test.images, ImageFiles),
        is_exact=True,
        classes=data.classes,
        labels=tuple(test.labels.tolist()),
    )
    for then in (identify(study.space, opening) for opening in study.log.openings):
        if now.is_unlike(then):
            raise UserError(
                f"data.root: the test images are not those that {study.folder.path} was tested "
                f"on before ({then}; now {now}); put them back and go on with --resume, or start "
                f"another study"
            )
    return now


def opened_images(study: Study, data: Splits) -> tuple[Split, Split | None]:
    """The test images once more, of a study that has opened them, and those of unknown classes.

    Raises:
        UserError: they are not those that were opened, or a file cannot be read.
    """
    if not study.log.openings:
        raise UserError(f"{study.folder.path}: its test images are sealed; go on with --resume")
    check_same_test(study, data)
    config = study.space.config.data
    return load_test(config), load_unknown(config)


def unlike_images(study: Study, runs: Sequence[Trial]) -> str | None:
    """Why test scores of these runs cannot be compared, if they are not of the same images.

    Earlier versions let the images change between two openings.
    """
    own = [opening for opening in study.log.openings if any(is_for(opening, run) for run in runs)]
    opened = [identify(study.space, opening) for opening in own]
    pairs = [f"{a}; then {b}" for a, b in itertools.combinations(opened, 2) if a.is_unlike(b)]
    counts = sorted({run.tested.n_images for run in runs if run.tested})
    if not pairs and len(counts) > 1:  # older logs may hold scores without an opening
        pairs = [" and ".join(f"{n} images" for n in counts)]
    if pairs:
        return f"its runs were not tested on the same images ({pairs[0]}); search again"
    return None


def groups_of(study: Study, runs: Sequence[Trial]) -> npt.NDArray[np.int64] | None:
    """(N,) groups of the test images that the runs were scored on, if they come in groups."""
    opened = [opening for opening in study.log.openings if any(is_for(opening, r) for r in runs)]
    return unpack_labels(opened[0].groups) if opened and opened[0].groups else None


def _ready(wanted: SeedRuns, study: Study) -> list[Trial]:
    """Those that are to be tested now: if all have ended, or enough are completed."""
    completed = wanted.completed(study)
    if not wanted.is_over(study) and len(completed) < MIN_SEEDS:
        return []
    waiting = [run for run in completed if run.tested is None]
    return [run for run in waiting if not _is_unsealed(run, study)]


def _is_unsealed(run: Trial, study: Study) -> bool:
    return any(is_for(opening, run) for opening in study.log.openings)


def is_for(opening: Unsealed, run: Trial) -> bool:
    """Whether the test images were opened for this run."""
    ask = run.ask
    is_row = (opening.arm, opening.phase) == (ask.arm, ask.phase)
    return is_row and ask.number in opening.numbers


def _score(study: Study, data: Splits, test: Split, run: Trial, place: Place) -> None:
    predictions = predict_by_run(study, run, data, test.images, place)
    truth = torch.tensor(test.labels)
    study.log.append(
        Tested(
            arm=run.ask.arm,
            phase=run.ask.phase,
            number=run.ask.number,
            metrics=accuracies(predictions, truth, "test", study.space.arm_config(run.ask.arm)),
            n_images=len(test),
            correct={name: pack((p == truth).numpy()) for name, p in predictions.items()},
        )
    )


def correctness(runs: Sequence[Trial], classifier: str) -> npt.NDArray[np.bool_]:
    """(n runs, N images) which test images the classifier got right."""
    tested = [run.tested for run in runs if run.tested]
    return np.stack([unpack(t.correct[classifier], t.n_images) for t in tested])
