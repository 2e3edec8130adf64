"""Operations on one image: torchvision's, each with a random stream of its own."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from supcon.config import AugmentConfig
from supcon.images.operations.by_image import MAPS, RECOLOUR, RandomOperation
from supcon.images.operations.magnitudes import ALL_OR_NOTHING, OPERATIONS, Operations
from supcon.images.policy import resolve
from supcon.images.views_by_image import compose, seed_steps
from tests.operations.test_by_batch import BILINEAR, CASES, NAMES


@pytest.mark.parametrize("channels", [3, 1])
def test_each_operation_is_that_of_torchvision(photograph: Tensor, channels: int) -> None:
    moved = photograph[:channels]
    pixels = moved.permute(1, 2, 0).contiguous().numpy()
    recoloured = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
    step, policy = RandomOperation(Operations("randaugment", 1), 32), v2.RandAugment()
    for name, amount in CASES:
        given = {"posterize": 8 - amount, "solarize": amount / 255}.get(name, amount)
        theirs = NAMES[OPERATIONS.index(name)]
        expected = policy._apply_image_or_video_transform(
            moved if name in MAPS else recoloured, theirs, given, BILINEAR, policy._fill
        )
        if isinstance(expected, Tensor):
            expected = expected.permute(1, 2, 0)
        ours = step.apply(pixels, name, amount)
        assert ours.shape == pixels.shape
        # In grey levels: older OpenCVs round coordinates to a 32nd of a pixel.
        difference = np.abs(ours.astype(float) - np.asarray(expected).reshape(pixels.shape))
        assert difference.max() <= (4 if name in MAPS else 0), (name, amount)
        assert difference.mean() <= 0.5, (name, amount)


def test_every_operation_has_a_function() -> None:
    assert {*MAPS, *RECOLOUR} == set(OPERATIONS)


@pytest.mark.parametrize("strength", [1, 0.4])
def test_operations_are_drawn_equally_often_and_some_by_strength(strength: float) -> None:
    step = RandomOperation(Operations("trivialaugment", strength), 32)
    step.set_random_seed(0)
    n = 20_000
    drawn = [step.get_params() for _ in range(n)]
    counts = Counter(each["name"] for each in drawn)
    for name in OPERATIONS[1:]:
        share = (strength if name in ALL_OR_NOTHING else 1) / len(OPERATIONS)
        assert counts[name] / n == pytest.approx(share, abs=0.008), name
    turns = np.array([each["magnitude"] for each in drawn if each["name"] == "rotate"])
    assert np.mean(turns < 0) == pytest.approx(0.5, abs=0.06)
    assert np.abs(turns).mean() == pytest.approx(strength * 135 / 2, rel=0.05)
    assert len(set(turns)) == 61  # 0 to 30 with either sign


def test_the_second_operation_of_a_view_says_nothing_about_the_first() -> None:
    pipeline = compose(resolve(AugmentConfig(policy="randaugment"), "cifar10"), 32)
    seed_steps(pipeline, 0)
    steps = [step for step in pipeline.transforms if isinstance(step, RandomOperation)]
    assert len(steps) == 2
    pairs = {tuple(step.get_params()["name"] for step in steps) for _ in range(3000)}
    assert len(pairs) == len(OPERATIONS) ** 2
