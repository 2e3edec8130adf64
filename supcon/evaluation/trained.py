"""The result of a run: encoder, head and probe; saved, loaded, used on new images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supcon.config import Config, override
from supcon.evaluation.embedding import Embedded, embed
from supcon.evaluation.probe import LinearProbe
from supcon.evaluation.scores import labels_of, other_predictions
from supcon.images.files import Images
from supcon.images.split import Split, Splits
from supcon.network.backbone import Misfit
from supcon.network.device import precision_tools, settled_precision
from supcon.network.models import Network, build_network
from supcon.parsing import UserError, one_line, parse
from supcon.recipe.checkpoint import load_state, save_atomic

MODEL_KEYS = frozenset(
    {"data", "classes", "image_size", "weights", "epoch", "metrics", "network", "probe"}
)
"""What a file holds besides the config."""


@dataclass(frozen=True)
class Trained:
    """Weights of a run, the best of raw, EMA and SWA, and the probe on their features."""

    network: Network
    """In eval mode, its BatchNorm re-estimated."""
    probe: LinearProbe
    """On the encoder's features."""
    weights: str
    """raw, ema or swa."""
    epoch: int
    """After which they were taken."""
    metrics: dict[str, float]
    """What they scored on val."""
    precision: str
    """fp32, bf16 or fp16: what the run computed in."""


def save_trained(trained: Trained, config: Config, data: Splits, path: Path) -> None:
    """Everything needed to embed and classify images later: weights, probe, config, class names.

    Args:
        trained: the run's result.
        config: its config.
        data: its images, of which a fingerprint is kept.
        path: the file; one that is there is replaced.
    """
    save_atomic(
        {
            "config": config.model_dump(mode="json"),
            "data": data.fingerprint(),
            "classes": list(data.classes),
            "image_size": data.train.images.shape[1],
            "precision": trained.precision,
            "weights": trained.weights,
            "epoch": trained.epoch,
            "metrics": trained.metrics,
            "network": trained.network.state_dict(),
            "probe": asdict(trained.probe),
        },
        path,
    )


def save_if_best(trained: Trained, config: Config, data: Splits, path: Path) -> None:
    """Save the weights unless the file holds some of this run that scored at least as well on val.

    Choosing an epoch by val makes its score on val too good; such a file is for plain training
    only, search and confirmation use the last epoch.
    """
    try:
        best = _model_state(path)
    except UserError:  # there is none, or a damaged one, which is of no use to anybody
        pass
    else:
        if best["config"] == config.model_dump(mode="json"):
            metric = config.selection_metric
            if best["metrics"][metric] >= trained.metrics[metric]:
                return
    save_trained(trained, config, data, path)


def load_trained(path: Path, device: torch.device) -> tuple[Trained, Config]:
    """What `save_trained` wrote, on `device`, and the config it was trained with.

    A precision that was `auto` is the one that the run computed in, wherever that was.

    Raises:
        UserError: there is no such file, it is damaged, no model, or one of another version.
    """
    state = _model_state(path, device)
    config = parse(Config, state["config"], str(path))
    if config.run.precision == "auto":  # earlier versions did not say what it was
        precision = state.get("precision") or settled_precision("auto", device)
        config = override(config, {"run.precision": precision}, str(path))
    # The network is built on the CPU, where its first forward pass is tried, and moved as a whole.
    mean, std = (state["network"][f"encoder.{name}"].cpu() for name in ("mean", "std"))
    try:
        network = build_network(
            config.model,
            config.loss,
            image_size=state["image_size"],
            classes=len(state["classes"]),
            mean=mean,
            std=std,
            weights=state["network"],
        )
        network.load_state_dict(state["network"])
    except (RuntimeError, Misfit) as error:  # names every tensor that is missing or left over
        raise UserError(
            f"{path}: its weights do not fit {config.model.backbone} ({one_line(error)}); it was "
            f"probably written with another version of timm"
        ) from error
    probe = LinearProbe(**state["probe"])
    network = network.to(device).eval()
    known = state["weights"], state["epoch"], state["metrics"], config.run.precision
    return Trained(network, probe, *known), config


def is_of(path: Path, data: Splits) -> bool:
    """Whether a saved result was trained and validated on just these images.

    Raises:
        UserError: the file is damaged.
    """
    found: bool = _model_state(path)["data"] == data.fingerprint()
    return found


def check_same_data(path: Path, data: Splits) -> None:
    """Refuse a saved result that was trained or validated on other images.

    Args:
        path: of the result.
        data: train and val, as they are now.

    Raises:
        UserError: these images, labels or classes are others; or the file is damaged.
    """
    if not is_of(path, data):
        raise UserError(
            f"{path}: was trained on other images, or on another split of them, than there are "
            f"under data.root now; its scores on these would mean nothing"
        )


def predict(trained: Trained, config: Config, bank: Split, images: Images) -> dict[str, Tensor]:
    """Class ids by each classifier of a run, in the precision that its config asks for.

    Args:
        trained: the run's result.
        config: its config.
        bank: the training images, among which kNN looks for neighbours.
        images: (N, H, W, C) to classify.

    Returns:
        `probe`, `knn`, `knn1` (nearest neighbour), after a projection head `projection_knn`, for
        cross entropy `head`: (N,) class ids each, on the CPU.
    """
    known, new = embed_with(trained, config, bank.images), embed_with(trained, config, images)
    return classify(trained, config, bank, known, new)


def embed_with(trained: Trained, config: Config, images: Images) -> Embedded:
    """Features and head outputs of images (N, H, W, C), in the config's precision."""
    device = trained.probe.weight.device
    torch.backends.cudnn.allow_tf32 = config.run.tf32
    autocast, _ = precision_tools(config.run.precision, device)
    return embed(trained.network, images, device=device, autocast=autocast)


def classify(
    trained: Trained, config: Config, bank: Split, known: Embedded, new: Embedded
) -> dict[str, Tensor]:
    """`predict` on the embeddings of the training images and of those to classify."""
    bank_y = labels_of(bank, new.features.device)
    predictions = {"probe": trained.probe.predict(new.features)}
    predictions |= other_predictions(config, known, bank_y, new, len(trained.probe.weight))
    return {name: ids.cpu() for name, ids in predictions.items()}


def _model_state(path: Path, device: torch.device | None = None) -> dict[str, Any]:
    state = load_state(path, device)
    if missing := MODEL_KEYS - state.keys():
        raise UserError(
            f"{path}: is no model of this version of the program (without "
            f"{', '.join(sorted(missing))}); name a model.pt or best.pt, or train again"
        )
    return state
