"""The loss that a config asks for."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from supcon.config import Config, LossConfig, is_used, override
from supcon.recipe.objective import objective


@pytest.mark.parametrize("loss", get_args(LossConfig.model_fields["name"].annotation))
@pytest.mark.parametrize("sampler", ["natural", "balanced"])
@pytest.mark.parametrize(
    "key", ["temperature", "base_temperature", "label_smoothing", "logit_adjustment", "ce_weight"]
)
def test_a_setting_of_a_loss_counts_as_used_where_it_changes_the_loss(
    loss: str, key: str, sampler: str
) -> None:
    """So a loss whose unused settings are not listed is found: they would be drawn for nothing."""
    width = 128 + 4 if loss == "supcon_ce" else 4
    outputs = torch.randn(8, width, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    config = override(Config(), {"loss.name": loss, "data.sampler": sampler})
    changed = override(config, {f"loss.{key}": 0.3})
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1])
    before, after = (objective(each, prior)(outputs, labels) for each in (config, changed))
    assert is_used(f"loss.{key}", config) == (not torch.equal(before, after))


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("is_soft", [False, True])
def test_the_joint_loss_is_the_weighted_mean_of_both_on_their_own_heads(
    weight: float, is_soft: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    projections, logits = (torch.randn(8, d, generator=generator) for d in (16, 4))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    target = 0.7 * torch.eye(4)[labels] + 0.3 * torch.eye(4)[labels.flip(0)] if is_soft else labels
    changes = {"model.head_dim": 16, "loss.temperature": 0.2, "loss.label_smoothing": 0.1}
    config = override(Config(), changes | {"loss.name": "supcon_ce", "loss.ce_weight": weight})
    prior = torch.full((4,), 0.25)
    joint = objective(config, prior)(torch.cat([projections, logits], 1), target)
    contrast = objective(override(config, {"loss.name": "supcon"}), prior)(projections, target)
    entropy = objective(override(config, {"loss.name": "ce"}), prior)(logits, target)
    torch.testing.assert_close(joint, (1 - weight) * contrast + weight * entropy)
