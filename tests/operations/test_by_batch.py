"""Operations on a whole batch, against torchvision's on single images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from supcon.config import AugmentConfig
from supcon.images.operations.by_batch import BatchedOperations, Chosen
from supcon.images.operations.magnitudes import ALL_OR_NOTHING, OPERATIONS, SIGNED, Operations
from supcon.images.policy import resolve
from supcon.images.views_by_batch import Augmentation

NAMES = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness",
         "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast",
         "Equalize")  # fmt: skip
AMOUNTS: dict[str, list[float]] = {
    "identity": [0],
    "shear_x": [0.09, -0.09, 0.99, -0.5],
    "shear_y": [0.09, -0.09, 0.99, -0.5],
    "translate_x": [4, -4, 20, 32],
    "translate_y": [4, -4, 20, -32],
    "rotate": [9, -9, 45, -135],
    "brightness": [0.27, -0.27, 0.99, -0.99],
    "saturation": [0.27, -0.27, 0.99, -0.99],
    "contrast": [0.27, -0.27, 0.99, -0.99],
    "sharpness": [0.27, -0.27, 0.99, -0.99],
    "posterize": [0, 1, 4, 6],
    "solarize": [255, 178.5, 100, 0],
    "autocontrast": [0],
    "equalize": [0],
}
CASES = [(name, amount) for name in OPERATIONS for amount in AMOUNTS[name]]
BILINEAR = v2.InterpolationMode.BILINEAR


def choose(operations: BatchedOperations, cases: list[tuple[str, float]]) -> Chosen:
    """An image for each name and amount."""
    is_on = torch.zeros(len(cases), len(OPERATIONS), dtype=torch.bool)
    for row, (name, _) in zip(is_on, cases, strict=True):
        row[OPERATIONS.index(name)] = True
    amounts = is_on * torch.tensor([float(amount) for _, amount in cases])[:, None]
    return Chosen(is_on, amounts, operations._moved(amounts))


def operated(image: Tensor, cases: list[tuple[str, float]]) -> Tensor:
    """(N, C, H, W): an image after each of N operations, all in one batch."""
    operations = BatchedOperations(Operations("trivialaugment", 1), image.shape)
    nothing = choose(operations, [("identity", 0.0)] * len(cases))
    x = image.float().expand(len(cases), -1, -1, -1)
    return operations.apply(x, [nothing, choose(operations, cases)])


def of_torchvision(image: Tensor, name: str, amount: float) -> Tensor:
    """An image after an operation of its RandAugment, which TrivialAugmentWide shares."""
    given = {"posterize": 8 - amount, "solarize": amount / 255}.get(name, amount)
    policy = v2.RandAugment()
    theirs = NAMES[OPERATIONS.index(name)]
    done = policy._apply_image_or_video_transform(image, theirs, given, BILINEAR, policy._fill)
    assert isinstance(done, Tensor)
    return done.float()


@pytest.mark.parametrize("channels", [3, 1])
def test_each_operation_is_that_of_torchvision(photograph: Tensor, channels: int) -> None:
    image = photograph[:channels].contiguous()
    for view, (name, amount) in zip(operated(image, CASES), CASES, strict=True):
        difference = (view - of_torchvision(image, name, amount)).abs()
        # In grey levels: they cut off fractions, of a grey image and again of what is blended.
        assert difference.max() <= (2 if name == "saturation" else 1), (name, amount)
        assert difference.mean() < 1, (name, amount)


@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_pictures_of_few_levels_are_stretched_and_equalised_as_by_torchvision(
    levels: int, size: int
) -> None:
    image = (torch.arange(3 * size * size) % levels * 40 + 30).to(torch.uint8).view(3, size, size)
    for name in ("autocontrast", "equalize"):
        difference = operated(image, [(name, 0.0)])[0] - of_torchvision(image, name, 0)
        assert difference.abs().max() <= 1, name


def test_images_are_as_they_were_bit_for_bit_after_nothing(photograph: Tensor) -> None:
    views = operated(photograph, [("identity", 0.0), ("shear_x", 0.0), ("brightness", 0.0)])
    assert torch.equal(views, photograph.float().expand(3, -1, -1, -1))


def drawn(operations: BatchedOperations, n: int) -> list[Chosen]:
    lowest, highest = torch.tensor(operations.ranges).T
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(n, len(operations.ranges), generator=generator)
    return operations.chosen(lowest + (highest - lowest) * random)


@pytest.mark.parametrize("strength", [1, 0.4])
@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_operations_are_drawn_equally_often_and_some_by_strength(
    policy: Literal["randaugment", "trivialaugment"], strength: float
) -> None:
    expected = torch.full((len(OPERATIONS),), 1 / len(OPERATIONS))
    for name in ALL_OR_NOTHING:
        expected[OPERATIONS.index(name)] *= strength
    expected[0] += 1 - expected.sum()
    slots = drawn(BatchedOperations(Operations(policy, strength), (3, 32, 32)), 40_000)
    for slot in slots:
        assert (slot.is_on.sum(1) == 1).all()
        torch.testing.assert_close(slot.is_on.float().mean(0), expected, rtol=0, atol=0.006)
    if policy == "randaugment":
        first, second = (slot.is_on.float() for slot in slots)
        together = first.T @ second / len(first)
        torch.testing.assert_close(together, expected[:, None] * expected, rtol=0, atol=0.003)


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_magnitudes_are_drawn_equally_often_with_either_sign(
    policy: Literal["randaugment", "trivialaugment"],
) -> None:
    numbers = Operations(policy, 1)
    slot, *_ = drawn(BatchedOperations(numbers, (3, 32, 32)), 40_000)
    for i, (name, row) in enumerate(zip(OPERATIONS, numbers.magnitudes(32, 32), strict=True)):
        amounts = slot.amounts[slot.is_on[:, i], i].numpy()
        possible = np.array(row, dtype=np.float32)
        if name in SIGNED:
            negative = np.mean(possible > 0) / 2
            assert np.mean(amounts < 0) == pytest.approx(negative, abs=0.05), name
        assert np.abs(amounts).mean() == pytest.approx(possible.mean(), rel=0.05, abs=1e-6), name
        assert set(np.abs(amounts)) == set(possible), name


TORCHVISION: dict[str, Callable[[], v2.Transform]] = {
    "randaugment": lambda: v2.RandAugment(interpolation=BILINEAR),
    "trivialaugment": lambda: v2.TrivialAugmentWide(interpolation=BILINEAR),
}


@pytest.mark.parametrize(("policy", "draws"), [("randaugment", 1500), ("trivialaugment", 3000)])
def test_views_have_the_distribution_of_those_of_torchvision(
    photograph: Tensor, policy: Literal["randaugment", "trivialaugment"], draws: int
) -> None:
    whole = resolve(AugmentConfig(policy=policy, crop=1, flip=0), "cifar10")
    augmentation = Augmentation(replace(whole, aspect=1.0), photograph.shape)
    images = photograph.expand(draws, -1, -1, -1)
    ours = augmentation(images, torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transform = TORCHVISION[policy]()
        theirs = torch.stack([transform(photograph) for _ in range(draws)]).float()
    for measured in (lambda x: x.mean(0), lambda x: x.std(0)):
        difference = (measured(ours) - measured(theirs)).abs()
        assert difference.mean() < 2.5
        assert difference.max() < 8
