"""The files of weights of a bundle: safetensors, which hold numbers and nothing that could run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from supcon.config import Config
from supcon.evaluation.probe import LinearProbe
from supcon.network.backbone import Misfit
from supcon.network.models import JointHead, Network, build_network
from supcon.parsing import UserError, one_line

ENCODER, HEAD, CONFIG = "encoder.safetensors", "head.safetensors", "config.yaml"
NUMBERS = tuple(field.name for field in fields(LinearProbe) if field.name != "candidate")


def save_encoder(network: Network, folder: Path) -> None:
    """Its weights, normalisation and BatchNorm statistics included.

    Raises:
        OSError: it cannot be written.
    """
    _save(network.encoder.state_dict(), folder / ENCODER)


def save_heads(network: Network, probe: LinearProbe, folder: Path) -> None:
    """The probe, and cross entropy's own head; a projection head is of no use any more.

    Raises:
        OSError: they cannot be written.
    """
    tensors = {f"probe.{name}": getattr(probe, name) for name in NUMBERS}
    head = network.head.classifier if isinstance(network.head, JointHead) else network.head
    if isinstance(head, nn.Linear):
        tensors |= {f"head.{name}": value for name, value in head.state_dict().items()}
    _save(tensors, folder / HEAD)


def load_network(folder: Path, config: Config, *, image_size: int, classes: int) -> Network:
    """Encoder and, after cross entropy, its head; in eval mode, on the CPU.

    Args:
        folder: of the bundle.
        config: that the encoder was trained with.
        image_size: side in pixels.
        classes: number of classes.

    Raises:
        UserError: a file is damaged, or does not fit the config.
    """
    encoder = _load(folder / ENCODER)
    if not {"mean", "std"} <= encoder.keys():
        raise UserError(f"{folder / ENCODER}: holds no encoder of this program")
    # Of two heads the classifier alone is kept.
    loss = {"name": "ce"} if config.has_classifier else {}
    try:
        network = build_network(
            config.model,
            config.loss.model_copy(update=loss),
            image_size=image_size,
            classes=classes,
            mean=encoder["mean"],
            std=encoder["std"],
            weights=encoder,
        )
    except Misfit as error:
        raise _unfit(folder / ENCODER, config, error) from None
    _fill(network.encoder, encoder, folder / ENCODER, config)
    if config.has_classifier:
        _fill(network.head, _part(_load(folder / HEAD), "head"), folder / HEAD, config)
    return network.eval()


def load_probe(folder: Path, *, classes: int, device: torch.device) -> LinearProbe:
    """The probe, on `device`.

    Args:
        folder: of the bundle.
        classes: number of classes.
        device: where it is used.

    Raises:
        UserError: the file is damaged, or holds no probe for so many classes.
    """
    found = _part(_load(folder / HEAD), "probe")
    if found.keys() != set(NUMBERS) or found["bias"].shape != (classes,):
        raise UserError(f"{folder / HEAD}: holds no linear probe for {classes} classes")
    return LinearProbe(**{name: value.to(device) for name, value in found.items()}, candidate="")


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, path)
    except SafetensorError as error:  # a full disk
        raise OSError(f"{path}: cannot be written ({one_line(error)})") from None


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged, or no safetensors file ({one_line(error)})") from None


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {n.removeprefix(start): value for n, value in tensors.items() if n.startswith(start)}


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path, config: Config) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:  # names every tensor that is missing or left over
        raise _unfit(path, config, error) from None


def _unfit(path: Path, config: Config, error: Exception) -> UserError:
    return UserError(
        f"{path}: does not fit {config.model.backbone} ({one_line(error)}); it was probably "
        f"written with another version of timm"
    )
