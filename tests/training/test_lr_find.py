"""The range test of a run: under the run's own conditions, and without a trace."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.lr_find import draw, find_lr_per_256
from supcon.parsing import UserError
from supcon.recipe.lr_range import RangeTest
from supcon.train import Run


def test_a_run_is_as_before_its_range_test(tiny: Config, digits: Splits) -> None:
    run = Run(tiny, digits)
    before = copy.deepcopy((run.network.state_dict(), run.optimizer.state_dict()))
    found = find_lr_per_256(run, lowest=1e-3, highest=1.0, steps=12)
    assert found.lr == pytest.approx(np.geomspace(1e-3, 1.0, 12))
    torch.testing.assert_close(run.network.state_dict(), before[0], rtol=0, atol=0)
    torch.testing.assert_close(run.optimizer.state_dict(), before[1], rtol=0, atol=0)


@pytest.mark.parametrize(("scaling", "factor"), [("linear", 32 / 256), ("sqrt", (32 / 256) ** 0.5)])
def test_learning_rates_of_a_run_are_those_at_batch_size_256(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch, scaling: str, factor: float
) -> None:
    asked: list[tuple[float, float]] = []

    def spy(*arguments: Any, lowest: float, highest: float, **options: Any) -> RangeTest:
        asked.append((lowest, highest))
        return RangeTest([lowest, highest], [2.0, 1.0])

    monkeypatch.setattr("supcon.lr_find.range_test", spy)
    run = Run(override(tiny, {"optim.lr_scaling": scaling}), digits)
    found = find_lr_per_256(run, lowest=1e-3, highest=1.0, steps=12)
    assert asked == [pytest.approx((1e-3 * factor, factor))]
    assert found.lr == pytest.approx([1e-3, 1.0])


def test_the_range_test_clips_gradients_as_training_does(tiny: Config, digits: Splits) -> None:
    losses = []
    for clip_norm in (None, 1e-4):
        config = override(tiny, {"optim.clip_norm": clip_norm})
        found = find_lr_per_256(Run(config, digits), lowest=1e-3, highest=10, steps=20)
        losses.append(found.loss)
    assert losses[0][0] == losses[1][0]
    assert losses[0][-1] < losses[1][-1] - 0.1  # clipped, it learns next to nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"run.memory": "cached", "run.micro_batch": 24}, {"run.precision": "fp16"}]
)
def test_the_first_loss_is_that_of_the_runs_first_step(
    tiny: Config, digits: Splits, changes: dict[str, Any]
) -> None:
    config = override(tiny, changes)
    found = find_lr_per_256(Run(config, digits), lowest=1e-3, highest=10, steps=10)
    run = Run(config, digits)
    images, labels = next(iter(run.loader(epoch=1)))
    run.network.train()
    assert found.loss[0] == run.step(images, labels).item()


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    lr = [10.0 ** (i / 4 - 4) for i in range(20)]
    draw(RangeTest(lr, [20.0 - i for i in range(20)]), "learning rate", tmp_path / "lr.png")
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_there_is_no_picture_of_a_test_that_ran_away_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start lower"):
        draw(RangeTest([1.0, 2.0], [1.0, 9.0]), "learning rate", tmp_path / "lr.png")
    assert not (tmp_path / "lr.png").exists()
