"""Backbones of timm without their classifiers: freshly drawn, or with weights that are given."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from supcon.network.stem import first_conv, fit_to_size
from supcon.parsing import UserError, one_line

SHOWN = 3  # tensors that a message names of each kind


class Misfit(Exception):
    """Tensors are not those of a backbone: which, and what they are instead."""


PREFIXES = ("", "encoder.backbone.", "backbone.", "encoder.", "encoder.module.", "model.")
"""What other programs, and other parts of this one, put before the names of timm."""


def check_backbone(name: str) -> None:
    """Raise a UserError with similar names unless timm has a model called `name`."""
    if not timm.is_model(name.split(".")[0]):
        similar = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; similar: {', '.join(similar)}" if similar else ""
        raise UserError(f"model.backbone: timm has no model '{name}'{hint}")


def checkpoint_blocks(net: nn.Module, name: str) -> None:
    """Let the blocks of a timm model keep their inputs, and make the rest again when it is needed.

    Args:
        net: the model, changed in place.
        name: what it is called.

    Raises:
        UserError: timm does not offer that for it.
    """
    turn_on: Any = getattr(net, "set_grad_checkpointing", None)
    try:
        if turn_on is None:
            raise AssertionError
        turn_on(True)
    except AssertionError:  # how timm refuses
        raise UserError(
            f"run.memory: checkpoint is not offered for {name} by timm; use cached, or another "
            f"model.backbone"
        ) from None


def create_backbone(
    name: str,
    channels: int,
    image_size: int,
    *,
    small: bool,
    tensors: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """A backbone that takes images of this size.

    Args:
        name: of a model of timm.
        channels: of the images.
        image_size: their side in pixels.
        small: whether the stem's downsampling is removed.
        tensors: its weights, as timm names them, perhaps behind one of `PREFIXES`; a classifier
            among them is left out. Of a network of this program they fit as they are; else the
            stem keeps their kernels, and the first convolution is fit to the channels by timm.

    Raises:
        UserError: it cannot be built.
        Misfit: these are not its weights.
    """
    net = _create(name, in_chans=channels, num_classes=0)
    fit_to_size(net, image_size, small=small, keep_kernels=False)
    if tensors is None:
        return net
    own = _without_prefix(tensors, net.state_dict())
    if _shapes(own) == _shapes(net.state_dict()):
        net.load_state_dict(own)
        return net
    net = _create(name, in_chans=channels, num_classes=0)
    net.load_state_dict(_converted(name, channels, own, net.state_dict()))
    fit_to_size(net, image_size, small=small, keep_kernels=True)
    return net


def _create(name: str, **options: Any) -> nn.Module:
    try:
        net: nn.Module = timm.create_model(name, **options)
    except Exception as error:  # whatever timm raises
        raise UserError(f"model.backbone: {name} cannot be built: {one_line(error)}") from error
    return net


def _without_prefix(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors behind the prefix that most of the names have."""
    wanted = set(names)
    best = max(PREFIXES, key=lambda prefix: sum(prefix + name in tensors for name in wanted))
    return {n.removeprefix(best): t for n, t in tensors.items() if n.startswith(best)}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _converted(
    name: str, channels: int, own: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The wanted tensors, by timm's own reading of what its models were published as.

    Where timm reads weights for other classes it takes a missing tensor for one that is to be
    drawn. Here none may be missing: the model gets a classifier of its own to be strict about.
    """
    plain = _create(name)
    config: Any = plain.pretrained_cfg
    heads = config.get("classifier") or ()
    is_head = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    known = plain.state_dict()
    body = {n: tensor for n, tensor in own.items() if not n.startswith(is_head)}
    given = body | {n: tensor for n, tensor in known.items() if n.startswith(is_head)}
    overlay: dict[str, Any] = {"state_dict": given, "label_offset": 0}
    kernel = given.get(f"{first_conv(plain)}.weight")
    if kernel is not None and kernel.ndim == 4:
        overlay["input_size"] = (kernel.shape[1], *config["input_size"][1:])
    try:
        full = timm.create_model(
            name, pretrained=True, in_chans=channels, pretrained_cfg_overlay=overlay
        ).state_dict()
    except Exception as error:  # whatever timm makes of another model's tensors
        left = {n: tensor for n, tensor in known.items() if not n.startswith(is_head)}
        raise Misfit(_misfit(name, body, left, error)) from error
    return {n: full[n] for n in wanted}


def _misfit(
    name: str, own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], error: Exception
) -> str:
    """What does not fit, for a person."""
    missing = [n for n in wanted if n not in own and not n.endswith("num_batches_tracked")]
    extra = [n for n in own if n not in wanted]
    other = [
        f"{n} is {tuple(own[n].shape)}, not {tuple(tensor.shape)}"
        for n, tensor in wanted.items()
        if n in own and own[n].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("not of it", extra), ("of another shape", other))
    found = [f"{len(names)} {what} ({_some(names)})" for what, names in kinds if names]
    return "; ".join(found) or one_line(error)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
