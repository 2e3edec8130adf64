"""What a network's weights are worth on val: stage two of the recipe, kNN, a head of its own.

One embedding pass over train and one over val serve every number here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from supcon.config import Config
from supcon.evaluation.accuracy import accuracy, balanced_accuracy, is_balanced
from supcon.evaluation.embedding import Embedded, embed
from supcon.evaluation.knn import knn_predict
from supcon.evaluation.probe import Fitted, LinearProbe, fit_probe, fit_probe_by_sgd
from supcon.evaluation.spread import geometry_metrics, spread_metrics
from supcon.images.policy import resolve
from supcon.images.split import Split, Splits
from supcon.images.views_by_image import one_view
from supcon.network.device import precision_tools
from supcon.network.models import Network, by_head
from supcon.recipe.averaging import reestimate_batchnorm
from supcon.seeds import derive_seed

BN_BATCH = 256  # images a batch when BatchNorm is re-estimated


class NonFinite(Exception):
    """The network's features are not finite."""


@dataclass(frozen=True)
class Scores:
    """The metrics of a network, and the probe that classifies by it."""

    metrics: dict[str, float]
    """val/probe_top1, val/knn_top1 (weighted vote), val/knn1_top1 (nearest neighbour); after a
    projection head also val/projection_knn_top1, for cross entropy val/head_top1; where classes are
    unequal, or selection goes by it, the same by balanced accuracy: val/probe_balanced,
    val/knn_balanced and so on; all in [0, 1]. And, as `supcon.evaluation.spread` has them, of the
    encoder features val/effective_rank, val/collapsed, val/collapsed_classes, and what
    `geometry_metrics` names: val/alignment and so on; after a projection head that also of the
    projections, brought to length 1: val/projection_alignment and so on."""
    probe: LinearProbe
    """The candidate that is best on all of val."""


def score(network: Network, config: Config, data: Splits, device: torch.device) -> Scores:
    """Re-estimate the network's BatchNorm, embed train and val, train the probe, score on val.

    Args:
        network: on `device`; its BatchNorm buffers change, nothing else.
        config: of the run that it comes from.
        data: train and val.
        device: where to compute.

    Raises:
        NonFinite: some feature is not a finite number.
    """
    autocast, _ = precision_tools(config.run.precision, device)
    reestimate_batchnorm(network, _batchnorm_images(config, data.train), device, autocast)
    train = embed(network, data.train.images, device=device, autocast=autocast)
    val = embed(network, data.val.images, device=device, autocast=autocast)
    if not (train.features.isfinite().all() and val.features.isfinite().all()):
        raise NonFinite
    return score_embedded(network, train, val, config, data)


def score_embedded(
    network: Network, train: Embedded, val: Embedded, config: Config, data: Splits
) -> Scores:
    """Train the probe and score it, kNN and cross entropy's own head on val; how features spread.

    Args:
        network: what the embeddings are of; used if the probe is trained on views.
        train: of all training images.
        val: of all images of val.
        config: of the run that the network comes from.
        data: train and val.
    """
    device = val.features.device
    val_y, classes = labels_of(data.val, device), len(data.classes)
    fitted = fit_on(network, train, val, config, data)
    predictions = {"probe": fitted.predictions}
    predictions |= other_predictions(config, train, labels_of(data.train, device), val, classes)
    metrics = accuracies(predictions, val_y, "val", config)
    metrics |= named(spread_metrics(val.features, val_y), "val/")
    metrics |= geometry(config, val, val_y, "val")
    return Scores(metrics, fitted.probe)


def fit_on(
    network: Network, train: Embedded, val: Embedded, config: Config, data: Splits
) -> Fitted:
    """Train the probe on train, and choose on val; arguments as of `score_embedded`."""
    x, y = _probe_features(network, train.features, config, data.train)
    val_y = labels_of(data.val, val.features.device)
    return _fit(config, x, y, val.features, val_y, len(data.classes))


def other_predictions(
    config: Config, bank: Embedded, bank_y: Tensor, queries: Embedded, classes: int
) -> dict[str, Tensor]:
    """Class ids of the queries by all classifiers but the probe.

    Args:
        config: of the run that the embeddings come from.
        bank: of the N training images.
        bank_y: (N,) class ids.
        queries: of M images.
        classes: number of classes.

    Returns:
        `knn` and `knn1` (the nearest alone) by encoder features; after a projection head also
        `projection_knn`, for cross entropy, alone or beside another loss, also its own `head`;
        (M,) each. Of an encoder that was not trained only the former.
    """
    k, temperature = config.probe.knn_k, config.probe.knn_temperature

    def vote(bank_x: Tensor, x: Tensor, *ks: int) -> list[Tensor]:
        return knn_predict(bank_x, bank_y, x, classes=classes, ks=ks, temperature=temperature)

    found = dict(zip(("knn", "knn1"), vote(bank.features, queries.features, k, 1), strict=True))
    (known, _), (projections, logits) = (by_head(x.outputs, config) for x in (bank, queries))
    if config.has_projection:
        (found["projection_knn"],) = vote(known, projections, k)
    if config.has_classifier:
        found["head"] = logits.argmax(1)
    return found


def accuracies(
    predictions: dict[str, Tensor], labels: Tensor, part: str, config: Config
) -> dict[str, float]:
    """`part/<classifier>_top1` of each; where classes are unequal, or selection goes by balanced
    accuracy, also `part/<classifier>_balanced`.

    Args:
        predictions: (M,) class ids by classifier.
        labels: (M,) class ids.
        part: val or test.
        config: of the run that classifies.

    Returns:
        Shares in [0, 1].
    """
    scores = {f"{part}/{name}_top1": accuracy(ids, labels) for name, ids in predictions.items()}
    if config.probe.selection == "balanced" or not is_balanced(labels):
        for name, ids in predictions.items():
            scores[f"{part}/{name}_balanced"] = balanced_accuracy(ids, labels)
    return scores


def geometry(config: Config, embedded: Embedded, labels: Tensor, part: str) -> dict[str, float]:
    """`geometry_metrics` of encoder features and, where there is a projection head, projections.

    Logits of cross entropy are no projections: their length tells how sure it is.

    Args:
        config: of the run that the embeddings come from.
        embedded: of M images.
        labels: (M,) class ids.
        part: val or test.
    """
    found = named(geometry_metrics(embedded.features, labels), f"{part}/")
    if config.has_projection:
        projections = F.normalize(by_head(embedded.outputs, config)[0].float(), dim=1)
        found |= named(geometry_metrics(projections, labels), f"{part}/projection_")
    return found


def named(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    """The same by other names."""
    return {prefix + name: value for name, value in metrics.items()}


def labels_of(split: Split, device: torch.device) -> Tensor:
    """(N,) class ids on `device`."""
    return torch.tensor(split.labels, device=device)


def _fit(
    config: Config, x: Tensor, y: Tensor, val_x: Tensor, val_y: Tensor, classes: int
) -> Fitted:
    probe = config.probe
    match probe.method:
        case "lbfgs":
            return fit_probe(
                x,
                y,
                val_x,
                val_y,
                classes=classes,
                penalties=probe.l2,
                max_iter=probe.max_iter,
                balanced=probe.selection == "balanced",
            )
        case "sgd":
            return fit_probe_by_sgd(
                x,
                y,
                val_x,
                val_y,
                classes=classes,
                epochs=probe.epochs,
                batch_size=probe.batch_size,
                lr=probe.lr,
                label_smoothing=probe.label_smoothing,
                average=config.average,
                seed=derive_seed(config.run.seed, "probe"),
                balanced=probe.selection == "balanced",
            )


def _probe_features(
    network: Network, plain: Tensor, config: Config, train: Split
) -> tuple[Tensor, Tensor]:
    """What the probe is trained on: the images' features, or those of augmented views."""
    y = labels_of(train, plain.device)
    if config.probe.views == 0:
        return plain, y
    autocast, _ = precision_tools(config.run.precision, plain.device)
    policy = resolve(config.augment, config.data.name)
    views = []
    for v in range(config.probe.views):
        seed = derive_seed(config.run.seed, "probe view", v)
        for block in one_view(train.images, policy, seed):
            views.append(embed(network, block, device=plain.device, autocast=autocast).features)
    return torch.cat(views), y.repeat(config.probe.views)


def _batchnorm_images(config: Config, train: Split) -> Iterator[Tensor]:
    """Training images as evaluation sees them, the same for all epochs and weights of a run.

    Augmented ones, which training's own statistics come from, cost accuracy: 6,000 CIFAR-10
    images, test_resnet, 8 epochs, 3 seeds, mean val top-1 with plain minus augmented images: CE's
    head +1.5 points (51.3 against 49.7), kNN +0.9, probe +0.1; SupCon's kNN +0.6, probe +0.5.
    """
    seed = derive_seed(config.run.seed, "batchnorm")
    order: npt.NDArray[np.intp] = np.random.default_rng(seed).permutation(len(train))
    order = order[: config.average.bn_images]
    for chosen in np.array_split(order, max(1, len(order) // BN_BATCH)):
        yield torch.from_numpy(train.images[chosen]).permute(0, 3, 1, 2)
