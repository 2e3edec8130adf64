"""Optimiser, parameter groups, and the learning rate as a pure function of progress."""

from __future__ import annotations

import difflib
import inspect
import math
from typing import Any

import timm.optim
import torch
from torch import nn

from supcon.config import OptimConfig
from supcon.parsing import UserError, one_line

_NO_STATE = "it draws random numbers that no checkpoint holds, so a resumed run would differ"
UNUSABLE = {
    "adahessian": "it needs second derivatives, which no step here makes",
    "kron": _NO_STATE,
    "kronc": _NO_STATE,
    "kronw": _NO_STATE,
    "swats": "it fails on weights in channels_last",
}
"""Optimisers that are there, but cannot be used, and why."""

FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""Optimisers with one kernel for the whole step, on the CPU and on GPUs: 8 ms for resnet18's SGD on
one CPU thread, against 27 (foreach) and 64 (parameter by parameter)."""


def build_optimizer(
    model: nn.Module, config: OptimConfig, batch_size: int
) -> torch.optim.Optimizer:
    """An optimiser of timm (`lookahead_` before any name wraps it) or of torch-optimizer.

    Args:
        model: its parameters are optimised, norms and biases without weight decay.
        config: name, learning rate, momentum (where the optimiser has one), weight decay.
        batch_size: images a step; the learning rate scales with it.

    Raises:
        UserError: there is no such optimiser, or it cannot be used here.
    """
    if (reason := UNUSABLE.get(config.name.removeprefix("lookahead_"))) is not None:
        raise UserError(f"optim.name: {config.name} cannot be used: {reason}")
    is_timms = config.name.removeprefix("lookahead_") in timm.optim.list_optimizers()
    build = _from_timm if is_timms else _from_torch_optimizer
    groups = parameter_groups(model, config.weight_decay, config.layer_decay)
    try:
        optimizer = build(groups, config.name, peak_lr(config, batch_size), config.momentum)
    except (TypeError, ValueError, ImportError, RuntimeError, AssertionError) as error:
        raise UserError(f"optim.name: {config.name} cannot be used: {one_line(error)}") from error
    if isinstance(optimizer, torch.optim.SGD) and config.momentum:
        # If fp16's scaler skips the first step, torch's fused SGD starts from whatever is there.
        for parameter in model.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def peak_lr(config: OptimConfig, batch_size: int) -> float:
    """The learning rate after warm-up: `lr_per_256` scaled to the batch size."""
    ratio = batch_size / 256
    return config.lr_per_256 * (ratio if config.lr_scaling == "linear" else math.sqrt(ratio))


def parameter_groups(
    model: nn.Module, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Matrices and kernels with weight decay, norms and biases (1-d) without.

    Args:
        model: whose parameters are grouped, all of them; with a layer decay below 1 a network,
            whose encoder has a backbone of timm.
        weight_decay: of the former, at least 0.
        layer_decay: of the learning rate, from a layer of the backbone to the one below.

    Returns:
        Two groups; with a layer decay two for each layer of the backbone, as timm has them, the
        lowest first, with `lr_scale`, its share of the learning rate, and two for the rest.
    """
    if layer_decay < 1:
        backbone: Any = model.get_submodule("encoder.backbone")
        layers = timm.optim.param_groups_layer_decay(
            backbone, weight_decay, layer_decay=layer_decay
        )
        return layers + parameter_groups(model.get_submodule("head"), weight_decay)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def lr_factor(progress: float, *, schedule: str, warmup: float, decay: float) -> float:
    """Share of the peak learning rate: a linear rise, then the schedule.

    Args:
        progress: fraction of the run's steps done, in [0, 1].
        schedule: cosine (half a cosine down to 0), constant, or wsd: warm-up, stable, decay
            (arXiv:2404.06395), constant with a linear fall to 0 at the end.
        warmup: fraction of the run that rises, in [0, 1).
        decay: fraction of the run that falls, in (0, 1 - warmup]; wsd only.

    Returns:
        A factor in [0, 1].
    """
    if progress < warmup:
        return progress / warmup
    match schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
        case "wsd":
            return min(1.0, (1 - progress) / decay)
        case _:
            return 1.0


def set_lr(optimizer: torch.optim.Optimizer, peak: float, factor: float) -> float:
    """Give all groups the learning rate peak * factor, or their share of it, and return it."""
    for group in optimizer.param_groups:
        group["lr"] = peak * factor * group.get("lr_scale", 1.0)
    return peak * factor


def _from_timm(
    groups: list[dict[str, Any]], name: str, lr: float, momentum: float
) -> torch.optim.Optimizer:
    info = timm.optim.get_optimizer_info(name.removeprefix("lookahead_"))
    options: dict[str, object] = {}
    if info.opt_class in FUSED:
        options["fused"] = True
    if info.has_momentum and (info.defaults or {}).get("nesterov"):
        options["nesterov"] = momentum > 0  # torch refuses to look ahead along no momentum
    return timm.optim.create_optimizer_v2(groups, opt=name, lr=lr, momentum=momentum, **options)


def _from_torch_optimizer(
    groups: list[dict[str, Any]], name: str, lr: float, momentum: float
) -> torch.optim.Optimizer:
    known = timm.optim.list_optimizers()
    if name.startswith("lookahead_"):  # wraps timm's only
        raise UserError(_unknown(name, known))
    try:
        import torch_optimizer
    except ImportError:
        more = "; torch-optimizer has more: pip install 'supcon-search[torch-optimizer]'"
        raise UserError(_unknown(name, known) + more) from None
    others = [n for n in torch_optimizer._NAME_OPTIM_MAP if n != "lookahead"]
    if name not in others:
        raise UserError(_unknown(name, known + others))
    kind = torch_optimizer.get(name)
    takes_momentum = "momentum" in inspect.signature(kind).parameters
    return kind(groups, lr=lr, **({"momentum": momentum} if takes_momentum else {}))


def _unknown(name: str, known: list[str]) -> str:
    prefix = "lookahead_" if name.startswith("lookahead_") else ""
    usable = sorted(set(known) - UNUSABLE.keys())
    similar = difflib.get_close_matches(name.removeprefix(prefix).lower(), usable, n=3)
    names = ", ".join(prefix + n for n in similar)
    hint = f"; similar: {names}" if similar else "; see timm.optim.list_optimizers()"
    return f"optim.name: there is no optimiser '{name}'{hint}"
