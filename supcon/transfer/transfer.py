"""A frozen encoder on other images: their probe and nearest neighbours, scored on their test part.

No weight of the network changes, and its pixels are normalised as in training. What is fitted is
fitted on the training images of the other data set: the probe, its penalty on val.

Nor are BatchNorm's statistics estimated anew on the other images. That gains nothing that could be
seen: test_resnet, 8 epochs on 10 classes of Tiny ImageNet at 32 pixels, then 10 other classes of 60
or 400 images, as they are or darker and tinted; SupCon and CE, 3 seeds: the mean of these 24 cases
with minus without is 0.0 points for the probe (standard error 0.6), and +0.8 for kNN (0.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supcon.config import Config, DataConfig
from supcon.evaluation.accuracy import are_equal
from supcon.evaluation.knn import knn_predict
from supcon.evaluation.scores import fit_on, labels_of
from supcon.evaluation.trained import Trained, embed_with
from supcon.images.split import Split, Splits
from supcon.parsing import UserError
from supcon.transfer.intervals import Share, share_of


@dataclass(frozen=True)
class Scored:
    """What a classifier is worth."""

    share: Share
    """Over all models."""
    each: list[float]
    """Of each model."""


def transfer(
    models: Iterable[tuple[Trained, Config]], other: DataConfig, data: Splits, test: Split
) -> dict[str, Scored]:
    """What models are worth on other images.

    Args:
        models: results of runs, with their configs: one, or several seeds of one configuration.
        other: says how the images were loaded.
        data: train and val of the other data set, in the size that the networks take.
        test: its test images.

    Returns:
        probe_top1 and knn_top1 (weighted vote); where test's classes are unequal also
        probe_balanced and knn_balanced.
    """
    found = [_correct(trained, config, other, data, test) for trained, config in models]
    counts = np.bincount(test.labels, minlength=len(data.classes))
    scored = {}
    for suffix, labels in (("top1", None), ("balanced", test.labels)):
        if labels is not None and are_equal(counts.tolist()):
            continue
        for name in found[0]:
            rows = np.stack([each[name] for each in found])
            seeds = [share_of(row[None], test.groups, labels).value for row in rows]
            scored[f"{name}_{suffix}"] = Scored(share_of(rows, test.groups, labels), seeds)
    return scored


def check_channels(trained: Trained, data: Splits) -> None:
    """Refuse images of other channels than those that a model takes.

    Raises:
        UserError: likewise.
    """
    takes, has = trained.network.encoder.mean.numel(), data.train.images.shape[3]
    if takes != has:
        raise UserError(
            f"--on: the model takes images of {takes} channel(s), as it was trained on, and these "
            f"have {has}; take a model that was trained on images in files"
        )


def _correct(
    trained: Trained, config: Config, other: DataConfig, data: Splits, test: Split
) -> dict[str, npt.NDArray[np.bool_]]:
    """(M,) which test images each classifier has right."""
    is_equal = are_equal(np.bincount(data.train.labels).tolist())
    selection = {"selection": "top1" if is_equal else "balanced"}
    probe = config.probe.model_copy(update=selection)
    config = config.model_copy(update={"data": other, "probe": probe})
    known, val, new = (
        embed_with(trained, config, split.images) for split in (data.train, data.val, test)
    )
    fitted = fit_on(trained.network, known, val, config, data).probe
    (knn,) = knn_predict(
        known.features,
        labels_of(data.train, known.features.device),
        new.features,
        classes=len(data.classes),
        ks=(probe.knn_k,),
        temperature=probe.knn_temperature,
    )
    predictions = {"probe": fitted.predict(new.features), "knn": knn}
    return {name: ids.cpu().numpy() == test.labels for name, ids in predictions.items()}
