"""The numbers of RandAugment and TrivialAugmentWide."""

from __future__ import annotations

from typing import Literal

import pytest
from torchvision.transforms import v2

from supcon.images.operations.magnitudes import OPERATIONS, SIGNED, Operations

THEIRS = {  # those of torchvision that draw the same, and their levels
    "randaugment": (v2.RandAugment, range(9, 10)),
    "trivialaugment": (v2.TrivialAugmentWide, range(31)),
}
NAMES = dict(
    zip(
        OPERATIONS,
        ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness",
         "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
        strict=True,
    )
)  # fmt: skip


def theirs(policy: str, name: str, width: int, height: int) -> list[float]:
    """Magnitudes of torchvision, in the units that are used here."""
    kind, levels = THEIRS[policy]
    magnitudes = kind._AUGMENTATION_SPACE[NAMES[name]][0](31, height, width)
    if magnitudes is None:
        return [0.0 for _ in levels]
    given = [float(magnitudes[i]) for i in levels]
    if name == "posterize":
        return [8 - bits for bits in given]
    if name == "solarize":
        return [255 * share for share in given]
    return [int(each) for each in given] if name.startswith("translate") else given


@pytest.mark.parametrize("policy", THEIRS)
@pytest.mark.parametrize(("width", "height"), [(32, 32), (224, 180)])
def test_operations_and_magnitudes_at_strength_1_are_those_of_torchvision(
    policy: Literal["randaugment", "trivialaugment"], width: int, height: int
) -> None:
    space = THEIRS[policy][0]._AUGMENTATION_SPACE
    assert list(NAMES.values()) == list(space)
    assert {NAMES[name] for name in SIGNED} == {
        name for name, (_, signed) in space.items() if signed
    }
    ours = Operations(policy, 1).magnitudes(width, height)
    for name, magnitudes in zip(OPERATIONS, ours, strict=True):
        expected = theirs(policy, name, width, height)
        # torchvision's 16 pixels are 15.999999, and then 15.
        near = 1 if name.startswith("translate") else 1e-4
        assert magnitudes == pytest.approx(expected, rel=1e-5, abs=near), name


def test_randaugment_draws_two_operations_and_trivialaugment_one() -> None:
    assert v2.RandAugment().num_ops == Operations("randaugment", 1).slots == 2
    assert v2.RandAugment().magnitude == 9
    assert Operations("trivialaugment", 1).slots == 1


@pytest.mark.parametrize("policy", THEIRS)
def test_magnitudes_are_in_proportion_to_strength(
    policy: Literal["randaugment", "trivialaugment"],
) -> None:
    full, half = (Operations(policy, s).magnitudes(64, 64) for s in (1, 0.5))
    for name, whole, part in zip(OPERATIONS, full, half, strict=True):
        if name == "solarize":
            assert part == whole  # happens half as often
        else:
            in_whole_numbers = name.startswith("translate") or name == "posterize"
            expected = [each / 2 for each in whole]
            assert part == pytest.approx(expected, abs=1 if in_whole_numbers else 1e-9), name


def test_nothing_is_moved_further_than_a_small_image_is_wide() -> None:
    wide = dict(zip(OPERATIONS, Operations("trivialaugment", 1).magnitudes(16, 40), strict=True))
    assert (wide["translate_x"][-1], wide["translate_y"][-1]) == (16, 32)
