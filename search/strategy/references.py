"""Reference configurations: what the papers used, and cross entropy as most people train it."""

from __future__ import annotations

from typing import Any

from search.space.distribution import Distribution
from search.space.space import Space
from supcon.config import flatten

PLAIN = {"augment.policy": "crop_jitter", "augment.mixup": 0.0, "augment.cutmix": 0.0}
CONTRASTIVE = {  # Khosla et al. 2020, arXiv:2004.11362, section 4 and its code for CIFAR
    "loss.temperature": 0.1,
    "loss.base_temperature": 0.1,
    "augment.strength": 1.0,
    **PLAIN,
    "data.batch_size": 1024,
    "model.backbone": "resnet50",
    "model.head": "mlp",
    "model.head_dim": 128,
    "optim.name": "sgd",
    "optim.lr_per_256": 0.125,  # 0.5 at batch size 1024
    "optim.momentum": 0.9,
    "optim.weight_decay": 1e-4,
    "optim.schedule": "cosine",
}
CROSS_ENTROPY = {  # the same paper's baseline: 0.8 at batch size 1024
    **CONTRASTIVE,
    "optim.lr_per_256": 0.2,
    "loss.label_smoothing": 0.0,
}


def published(space: Space, arm: str) -> dict[str, Any]:
    """The published settings of an arm's loss, for the parameters that the search draws.

    A value beyond a parameter's range becomes the end of the range that is nearest; a choice that
    does not offer it, and a parameter of which nothing is published, keep the base config's value
    (where that is null: the low end of the range).
    """
    config = space.arm_config(arm)
    settings = CONTRASTIVE if config.loss.is_contrastive else CROSS_ENTROPY
    params, flat = space.arm_params(arm), flatten(config)
    chosen: dict[str, Any] = {}
    for key, distribution in params.items():
        if distribution.is_drawn(chosen, params):
            chosen[key] = _within(distribution, settings.get(key, flat[key]), flat[key])
    return chosen


def without_additions(space: Space, arm: str) -> dict[str, Any]:
    """Settings that take back what an arm adds to its loss: mixing, a policy, label smoothing.

    An arm that *is* cross entropy with CutMix has the plain one as its reference.
    """
    plain, own = {**PLAIN, "loss.label_smoothing": 0.0}, space.fixed(arm)
    return {key: value for key, value in plain.items() if own.get(key, value) != value}


def frozen() -> dict[str, Any]:
    """Settings of a run that trains no encoder: what it starts from is scored as it is."""
    averages = {"average.ema_half_life": 0.0, "average.swa_start": 1.0}  # all the same weights
    return {"run.epochs": 0, "run.eval_at": [], "optim.freeze_epochs": 0, **averages}


def _within(distribution: Distribution, value: Any, default: Any) -> Any:
    if distribution.kind == "choice":
        return value if value in distribution.values else default
    low, high = distribution.values
    return low if value is None else min(max(value, low), high)


def one_view(space: Space, arm: str) -> dict[str, Any]:
    """Settings of a run of one view an image that sees as many views: so many more epochs."""
    config = space.arm_config(arm)
    epochs = config.augment.views * config.run.epochs
    return {"augment.views": 1, "run.epochs": epochs, "run.eval_at": [epochs]}
