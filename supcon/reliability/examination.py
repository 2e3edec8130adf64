"""What a trained run is worth beyond accuracy: every measure, on all images and without each block.

The encoder sees the images as they are and corrupted; temperatures are fitted on val. How much a
measure changes without a block of images tells how uncertain it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supcon.config import Config
from supcon.evaluation.embedding import Embedded
from supcon.evaluation.trained import Trained, embed_with
from supcon.images.decoding import Pixels
from supcon.images.split import Split
from supcon.network.models import by_head
from supcon.parsing import UserError
from supcon.reliability.calibration import fit_temperature, gap, losses, probabilities
from supcon.reliability.classes import macro_f1, worst_class
from supcon.reliability.corruptions import KINDS, LEVELS, Kind, corrupt
from supcon.reliability.unknown import auroc, doubt, energy, fpr_at_recall, kth_distance

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Values = dict[str, list[float]]
"""Measure -> its value on all images, then without each block."""

BLOCK = 128  # images that are corrupted at once, in 15 ways: 290 MB at 224 px
CORRUPTED = 1000  # images that are corrupted, at most
BANK_FOR_ONE = 1000  # training images for each neighbour that an unknown image's distance is to
FEATURES = "features"
"""Whose measures need no classifier."""
SCORES: Mapping[str, Callable[[Tensor], Tensor]] = {"energy": energy, "softmax": doubt}
"""Of logits: the larger, the less known an image seems."""


@dataclass(frozen=True)
class Unknown:
    """Images of unknown classes, dealt to blocks together with the test images."""

    images: Split
    """Labels mean nothing."""
    blocks: Ints
    """(M,) block of each, in [0, J)."""
    test_blocks: Ints
    """(N,) of the test images: a block is left out of both."""


@dataclass(frozen=True)
class Exam:
    """What a run is examined by."""

    test: Split
    blocks: Ints
    """(N,) block of each image, in [0, J)."""
    unknown: Unknown | None = None


def examine(
    trained: Trained, config: Config, train: Split, val: Split, exam: Exam
) -> dict[str, Values]:
    """Every measure of a run, by `probe`, by cross entropy's own `head` where it has one, and, of
    unknown images, by its `features` alone.

    Args:
        trained: the run's result.
        config: its config.
        train: whose features are the neighbours of others.
        val: which temperatures are fitted on.
        exam: what it is examined by.

    Raises:
        UserError: some measure is not finite.
    """
    known, test = (embed_with(trained, config, each.images) for each in (val, exam.test))
    val_y = torch.from_numpy(val.labels)
    found: dict[str, Values] = {}
    logits = _logits(trained, config, test)
    for name, own in _logits(trained, config, known).items():
        temperature = fit_temperature(own, val_y)
        found[name] = known_measures(logits[name], exam.test.labels, temperature, exam.blocks)
    for name, values in _corrupted(trained, config, exam).items():
        found[name] |= values
    if exam.unknown is not None:
        for name, values in _unknown(trained, config, train, test, exam.unknown).items():
            found[name] = found.get(name, {}) | values
    if not np.isfinite([x for own in found.values() for each in own.values() for x in each]).all():
        raise UserError("run.precision: its logits of a test image are not finite; take fp32")
    return found


def _unknown(
    trained: Trained, config: Config, train: Split, test: Embedded, unknown: Unknown
) -> dict[str, Values]:
    """How well unknown images are told from those of test, by each score."""
    new = embed_with(trained, config, unknown.images.images)
    blocks = unknown.test_blocks, unknown.blocks
    bank = embed_with(trained, config, train.images).features
    k = max(1, len(bank) // BANK_FOR_ONE)
    near, far = (kth_distance(bank, each.features, k) for each in (test, new))
    found = {FEATURES: unknown_measures("knn", near, far, *blocks)}
    logits = _logits(trained, config, test)
    for name, own in _logits(trained, config, new).items():
        found[name] = {}
        for label, score in SCORES.items():
            found[name] |= unknown_measures(label, score(logits[name]), score(own), *blocks)
    return found


def _logits(trained: Trained, config: Config, embedded: Embedded) -> dict[str, Tensor]:
    """(N, K) by each classifier that has some, in fp64, on the CPU."""
    found = {"probe": trained.probe.logits(embedded.features)}
    if config.has_classifier:
        found["head"] = by_head(embedded.outputs, config)[1]
    return {name: logits.double().cpu() for name, logits in found.items()}


def known_measures(logits: Tensor, labels: Ints, temperature: float, blocks: Ints) -> Values:
    """Calibration before and after temperature scaling, mean F1 and the worst class.

    Args:
        logits: (N, K), on the CPU.
        labels: (N,) class ids.
        temperature: fitted on other images.
        blocks: (N,).
    """
    predicted, y = logits.argmax(1).numpy(), torch.from_numpy(labels)
    right = predicted == labels
    sure, loss = {}, {}
    for suffix, t in (("", 1.0), ("_scaled", temperature)):
        sure[f"ece{suffix}"] = probabilities(logits, t).amax(1).numpy()
        loss[f"nll{suffix}"] = losses(logits, y, t).numpy()

    def measures(kept: npt.NDArray[np.bool_]) -> dict[str, float]:
        return {
            **{name: gap(p[kept], right[kept]) for name, p in sure.items()},
            **{name: float(each[kept].mean()) for name, each in loss.items()},
            "macro_f1": macro_f1(predicted[kept], labels[kept]),
            "worst_class": worst_class(predicted[kept], labels[kept]),
        }

    n_blocks = int(blocks.max()) + 1
    return _listed(measures(blocks != j) for j in range(-1, n_blocks))


def unknown_measures(
    score: str, known: Tensor, unknown: Tensor, blocks: Ints, unknown_blocks: Ints
) -> Values:
    """`auroc_` and `fpr95_` of a score, of N known and M unknown images; a block is left out of
    both.
    """
    known_N, unknown_M = (each.double().cpu().numpy() for each in (known, unknown))
    pairs = (
        (known_N[blocks != j], unknown_M[unknown_blocks != j])
        for j in range(-1, int(blocks.max()) + 1)
    )
    return _listed(
        {f"auroc_{score}": auroc(*pair), f"fpr95_{score}": fpr_at_recall(*pair)} for pair in pairs
    )


def _corrupted(trained: Trained, config: Config, exam: Exam) -> dict[str, Values]:
    """Classifier -> accuracy on corrupted images: `corrupted_top1`, and of each kind."""
    some = corrupted_images(len(exam.test))
    shares: dict[str, dict[Kind, Floats]] = {}
    for start in range(0, len(some), BLOCK):
        block = slice(start, start + BLOCK)
        pixels, labels = exam.test.images[some[block]], exam.test.labels[some[block]]
        for kind, worse in _worse(pixels, some[block]):
            logits = _logits(trained, config, embed_with(trained, config, worse))
            for name, own in logits.items():
                kinds = shares.setdefault(name, {kind: np.zeros(len(some)) for kind in KINDS})
                kinds[kind][block] += (own.argmax(1).numpy() == labels) / len(LEVELS)
    found = {}
    for name, kinds in shares.items():
        measures = {"corrupted_top1": np.mean([*kinds.values()], axis=0)}
        measures |= {f"corrupted_{kind}": each for kind, each in kinds.items()}
        found[name] = share_measures(measures, exam.blocks[some], int(exam.blocks.max()) + 1)
    return found


def _worse(images: Pixels, indices: Ints) -> Iterator[tuple[Kind, Pixels]]:
    """Images corrupted in each way, by as many threads as torch has."""
    ways = [(kind, level) for kind in KINDS for level in LEVELS]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        made = pool.map(lambda way: corrupt(images, way[0], way[1], indices), ways)
        for (kind, _), worse in zip(ways, made, strict=True):
            yield kind, worse


def corrupted_images(n: int) -> Ints:
    """Which of n images are corrupted: all, or 1,000 spread evenly over their order."""
    return np.unique(np.linspace(0, n - 1, min(CORRUPTED, n)).round().astype(np.int64))


def share_measures(right: Mapping[str, Floats], blocks: Ints, n_blocks: int) -> Values:
    """The mean of (N,) values of images by name, on all and without each block."""
    kept = [blocks != j for j in range(-1, n_blocks)]
    return _listed({name: float(own[k].mean()) for name, own in right.items()} for k in kept)


def _listed(each: Iterator[dict[str, float]]) -> Values:
    rows = list(each)
    return {name: [row[name] for row in rows] for name in rows[0]}
