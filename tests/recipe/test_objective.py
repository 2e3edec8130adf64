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
    "key", ["temperature", "base_temperature", "label_smoothing", "logit_adjustment"]
)
def test_a_setting_of_a_loss_counts_as_used_where_it_changes_the_loss(
    loss: str, key: str, sampler: str
) -> None:
    """So a loss whose unused settings are not listed is found: they would be drawn for nothing."""
    outputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    config = override(Config(), {"loss.name": loss, "data.sampler": sampler})
    changed = override(config, {f"loss.{key}": 0.3})
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1])
    before, after = (objective(each, prior)(outputs, labels) for each in (config, changed))
    assert is_used(f"loss.{key}", config) == (not torch.equal(before, after))
