"""The weights that trials start from, found and hashed before anything is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from search.log.study import Study
from search.space.space import Space
from supcon.config import Config, ModelConfig, flatten
from supcon.network.weights import pinned
from supcon.parsing import UserError

DRAWN_TOGETHER = ("model.backbone", "model.weights")


def pinned_weights(space: Space) -> dict[str, dict[str, str]]:
    """`weights_name` of each kind -> the settings that tell where it lies and what its hash is.

    Raises:
        UserError: some are not there, or not those of `model.weights_hash`.
    """
    models = {model.weights_name: model for model in _models(space) if model.weights != "none"}
    return {name: pinned(model) for name, model in models.items()}


def check_same_weights(study: Study) -> None:
    """Refuse to go on from other weights than the study was started with.

    Raises:
        UserError: a file of them is another one.
    """
    now = pinned_weights(study.space)
    for name, settings in study.log.started.weights.items():
        then, found = (each["model.weights_hash"] for each in (settings, now.get(name, settings)))
        if found != then:
            raise UserError(
                f"model.weights: {name} is not the file that {study.folder.path} was started with "
                f"(SHA-256 {then[:12]}..., now {found[:12]}...); put that one back, or start "
                f"another study"
            )


def describe_weights(found: dict[str, dict[str, str]]) -> list[str]:
    """A line for each, for a person."""
    lines = []
    for name, settings in found.items():
        where = name if name.startswith(("timm:", "hf-hub:")) else settings["model.weights"]
        lines.append(f"weights   {where}, SHA-256 {settings['model.weights_hash'][:12]}...")
    return lines


def configs_by_backbone(space: Space, arm: str) -> Iterator[Config]:
    """The arm's config with each backbone and each weights that are drawn together for it."""
    params, flat = space.arm_params(arm), flatten(space.arm_config(arm))
    keys = [key for key in params if key in DRAWN_TOGETHER]
    for values in itertools.product(*(params[key].values for key in keys)):
        chosen: dict[str, Any] = {}
        for key, value in zip(keys, values, strict=True):
            given = {k: v for k, v in params[key].when.items() if k in DRAWN_TOGETHER}
            if all(chosen.get(parent, flat[parent]) == want for parent, want in given.items()):
                chosen[key] = value
        yield space.trial_config(arm, chosen, seed=0)


def _models(space: Space) -> Iterator[ModelConfig]:
    for arm in space.arms:
        for config in configs_by_backbone(space, arm):
            yield config.model
