"""The result of a run: encoder, head and probe; saved, loaded, and used on new images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from supcon.checkpoint import load_state, save_atomic
from supcon.config import Config
from supcon.data import Split, Splits
from supcon.device import precision_tools
from supcon.evaluate import embed, knn_predict
from supcon.models import Network, build_network
from supcon.parsing import parse
from supcon.probe import LinearProbe


@dataclass(frozen=True)
class Trained:
    """The best of raw, EMA and SWA weights of a run, and the probe on their features."""

    network: Network
    """In eval mode, its BatchNorm re-estimated."""
    probe: LinearProbe
    weights: str
    """raw, ema or swa."""


def save_trained(trained: Trained, config: Config, data: Splits, path: Path) -> None:
    """Everything needed to embed and classify images later: weights, probe, config, class names."""
    save_atomic(
        {
            "config": config.model_dump(mode="json"),
            "classes": list(data.classes),
            "image_size": data.train.images.shape[1],
            "weights": trained.weights,
            "network": trained.network.state_dict(),
            "probe": asdict(trained.probe),
        },
        path,
    )


def load_trained(path: Path, device: torch.device) -> tuple[Trained, Config]:
    """What `save_trained` wrote, on `device`, and the config it was trained with."""
    state = load_state(path, device)
    config = parse(Config, state["config"], str(path))
    # The network is built on the CPU, where its first forward pass is tried, and moved as a whole.
    mean, std = (state["network"][f"encoder.{name}"].cpu() for name in ("mean", "std"))
    fresh = config.model.model_copy(update={"pretrained": False})  # its weights come from the file
    network = build_network(
        fresh,
        config.loss.name,
        image_size=state["image_size"],
        classes=len(state["classes"]),
        mean=mean,
        std=std,
    )
    network.load_state_dict(state["network"])
    probe = LinearProbe(**state["probe"])
    return Trained(network.to(device).eval(), probe, state["weights"]), config


def predict(
    trained: Trained, config: Config, bank: Split, images: npt.NDArray[np.uint8]
) -> dict[str, Tensor]:
    """Class ids by each classifier of a run, in the precision that it was trained in.

    Args:
        trained: the run's result.
        config: its config.
        bank: the training images, among which kNN looks for neighbours.
        images: (N, H, W, C) to classify.

    Returns:
        `probe`, `knn` and, for cross entropy, `head`: (N,) each, on the CPU.
    """
    network, device = trained.network, trained.probe.weight.device
    autocast, _ = precision_tools(config.run.precision, device)
    bank_x = embed(network.encoder, bank.images, device=device, autocast=autocast)
    x = embed(network.encoder, images, device=device, autocast=autocast)
    nearest = knn_predict(
        bank_x,
        torch.tensor(bank.labels, device=device),
        x,
        classes=len(trained.probe.weight),
        k=config.probe.knn_k,
        temperature=config.probe.knn_temperature,
    )
    predictions = {"probe": trained.probe.predict(x), "knn": nearest}
    if isinstance(network.head, nn.Linear):  # a projection head does not classify
        with torch.no_grad():
            predictions["head"] = network.head(x).argmax(1)
    return {name: ids.cpu() for name, ids in predictions.items()}
