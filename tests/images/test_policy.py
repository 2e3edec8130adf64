"""The augmentation policy: what suits a data set, what a config says instead, and its strength."""

from __future__ import annotations

from typing import Any

import pytest

from supcon.config import AugmentConfig
from supcon.images.operations.magnitudes import Operations
from supcon.images.policy import resolve

FULL = resolve(AugmentConfig(), "cifar10")
DIGITS = resolve(AugmentConfig(), "digits")


def test_digits_are_neither_mirrored_nor_coloured_by_default() -> None:
    assert (DIGITS.flip, DIGITS.jitter, DIGITS.grey) == (0, 0, 0)
    assert DIGITS.rotation > 0


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "folder"])
def test_photos_get_the_recipe_of_the_paper_by_default(name: str) -> None:
    policy = resolve(AugmentConfig(), name)
    numbers = (policy.crop, policy.flip, policy.rotation, policy.jitter, policy.grey)
    assert numbers == pytest.approx((0.2, 0.5, 0, 0.4, 0.2))


@pytest.mark.parametrize("key", ["crop", "flip", "rotation", "jitter", "grey", "blur", "cutout"])
def test_null_takes_the_default_and_a_number_overrides_it(key: str) -> None:
    for name, default in (("digits", DIGITS), ("cifar10", FULL)):
        changed = resolve(AugmentConfig.model_validate({key: 0.75}), name)
        assert getattr(changed, key) == 0.75
        assert vars(changed) | {key: getattr(default, key)} == vars(default)


def test_a_number_of_0_is_not_null() -> None:
    assert resolve(AugmentConfig(flip=0.0), "cifar10").flip == 0


def test_the_policy_scales_with_strength() -> None:
    half = resolve(AugmentConfig(strength=0.5), "cifar10")
    assert half.crop == pytest.approx(1 - 0.5 * 0.8)
    assert half.aspect == pytest.approx((4 / 3) ** 0.5)
    assert half.flip == pytest.approx(0.25)
    assert half.jitter == pytest.approx(0.2)
    assert half.grey == pytest.approx(0.1)
    assert resolve(AugmentConfig(strength=0.5), "digits").rotation == pytest.approx(7.5)


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_operations_take_the_place_of_rotation_jitter_and_grey(name: Any) -> None:
    config = {"jitter": 0.4, "grey": 0.2, "blur": 0.5, "rotation": 9, "strength": 0.5}
    policy = resolve(AugmentConfig.model_validate(config | {"policy": name}), "cifar10")
    assert (policy.rotation, policy.jitter, policy.grey) == (0, 0, 0)
    assert (policy.crop, policy.flip, policy.blur) == pytest.approx((0.6, 0.25, 0.25))
    assert policy.operations == Operations(name, 0.5)
    digits = resolve(AugmentConfig(policy=name), "digits")
    assert (digits.crop, digits.flip) == pytest.approx((0.6, 0))
    assert resolve(AugmentConfig(policy=name, strength=0), "cifar10").operations is None
    assert FULL.operations is None


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_policy_of_strength_0_does_nothing(name: str) -> None:
    everything = AugmentConfig(strength=0, crop=0.1, flip=1, rotation=9, jitter=1, grey=1, blur=1)
    policy = resolve(everything, name)
    assert (policy.crop, policy.aspect) == (1, 1)
    steps = (policy.flip, policy.rotation, policy.jitter, policy.grey, policy.blur, policy.cutout)
    assert steps == (0,) * 6
