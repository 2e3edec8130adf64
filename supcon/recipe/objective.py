"""The loss that a config asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from supcon.config import Config, is_used
from supcon.recipe.losses import cross_entropy, simclr_loss, sincere_loss, supcon_loss


def objective(config: Config, prior: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as a function of a batch's outputs and labels.

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
            tau = loss.logit_adjustment if is_used("loss.logit_adjustment", config) else 0
            adjustment = tau * prior.log().float() if tau else None
            return partial(
                cross_entropy, label_smoothing=loss.label_smoothing, adjustment=adjustment
            )
