"""The loss that a config asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from supcon.config import Config, is_used
from supcon.network.models import by_head
from supcon.recipe.losses import cross_entropy, simclr_loss, sincere_loss, supcon_loss

Objective = Callable[[Tensor, Tensor], Tensor]
"""A batch's outputs, and labels, to a loss."""


def objective(config: Config, prior: Tensor) -> Objective:
    """The loss as a function of a batch's outputs and labels, hard (N,) or, mixed, soft (N, K).

    Args:
        config: of the run.
        prior: (K,) share of the training images that each class has. Where classes are drawn
            equally often it is not looked at: the logits' adjustment would be the same for all.
    """
    loss, views = config.loss, config.augment.views
    t, base = loss.temperature, loss.base_temperature
    match loss.name:
        case "supcon":
            return partial(supcon_loss, temperature=t, base_temperature=base)
        case "sincere":
            return partial(sincere_loss, temperature=t, base_temperature=base)
        case "simclr":
            return partial(simclr_loss, views=views, temperature=t, base_temperature=base)
        case "ce":
            return _cross_entropy(config, prior)
        case "supcon_ce":
            contrast = partial(supcon_loss, temperature=t, base_temperature=base)
            return _joint(contrast, _cross_entropy(config, prior), config)


def _cross_entropy(config: Config, prior: Tensor) -> Objective:
    loss = config.loss
    tau = loss.logit_adjustment if is_used("loss.logit_adjustment", config) else 0
    adjustment = tau * prior.log().float() if tau else None
    return partial(cross_entropy, label_smoothing=loss.label_smoothing, adjustment=adjustment)


def _joint(contrast: Objective, entropy: Objective, config: Config) -> Objective:
    """Of the outputs of both heads."""
    weight = config.loss.ce_weight

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        projections, logits = by_head(outputs, config)
        return (1 - weight) * contrast(projections, labels) + weight * entropy(logits, labels)

    return loss
