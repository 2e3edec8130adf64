"""The augmentation policy, and the batches of views made with it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.config import AugmentConfig
from supcon.images.policy import Policy, resolve
from supcon.images.split import Split
from supcon.images.views_by_image import ViewBatches, load_views, one_view


def noise(n: int = 30, *, channels: int = 3, size: int = 16) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    return Split(pixels, np.arange(n) % 5)


def batches(
    split: Split, policy: Policy, *, batch_size: int = 8, views: int = 2, seed: int = 0
) -> ViewBatches:
    return ViewBatches(split, policy, batch_size=batch_size, views=views, seed=seed)


def epoch(loaded: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*loaded, strict=True)
    return torch.cat(images), torch.cat(labels)


FULL = resolve(AugmentConfig(), "cifar10")
DIGITS = resolve(AugmentConfig(), "digits")
NOTHING = resolve(AugmentConfig(strength=0), "cifar10")


@pytest.mark.parametrize("channels", [1, 3])
def test_strength_0_leaves_images_as_they_are(channels: int) -> None:
    split = noise(channels=channels)
    loader = batches(split, NOTHING, views=3)
    images, _ = loader[1]
    expected = split.images[loader.batches[1]]
    assert images.dtype == torch.uint8
    for view in images.permute(0, 2, 3, 1).split(8):
        assert np.array_equal(view.numpy(), expected)


def test_stronger_augmentation_changes_more() -> None:
    split = noise()
    original = torch.from_numpy(split.images).permute(0, 3, 1, 2).float()
    distances = []
    for strength in (0.0, 0.1, 1.0):
        policy = resolve(AugmentConfig(strength=strength), "cifar10")
        loader = batches(split, policy, views=1)
        order = np.concatenate(loader.batches)
        views, _ = epoch(loader[i] for i in range(len(loader)))
        distances.append((views.float() - original[order]).abs().mean().item())
    assert distances[0] == 0 < distances[1] < distances[2]


@pytest.mark.parametrize("policy", [FULL, DIGITS], ids=["photos", "digits"])
def test_each_view_of_each_image_has_parameters_of_its_own(policy: Policy) -> None:
    split = noise()
    same = Split(np.repeat(split.images[:1], 16, axis=0), split.labels[:16])
    images, _ = batches(same, policy, batch_size=16)[0]
    assert len({view.numpy().tobytes() for view in images}) == 32


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        ({"flip": 1.0}, "flip"),
        ({"jitter": 0.5}, "jitter"),
        ({"grey": 1.0}, "grey"),
        ({"rotation": 45.0}, "rotation"),
        ({"crop": 0.3}, "crop"),
    ],
)
def test_each_step_does_what_its_name_says(config: dict[str, float], changed: str) -> None:
    still = {"crop": 1.0, "flip": 0.0, "rotation": 0.0, "jitter": 0.0, "grey": 0.0}
    policy = resolve(AugmentConfig.model_validate(still | config), "cifar10")
    split = noise()
    loader = batches(split, policy, views=1)
    before = torch.from_numpy(split.images[loader.batches[0]]).permute(0, 3, 1, 2)
    after, _ = loader[0]
    mirrored = torch.equal(after, before.flip(3))
    colourless = torch.equal(after[:, :1].expand(-1, 3, -1, -1), after)
    assert mirrored is (changed == "flip")
    assert colourless is (changed == "grey")
    assert not torch.equal(after, before)


def test_what_one_step_does_to_a_view_says_nothing_about_the_others() -> None:
    pixels = np.zeros((1000, 8, 8, 3), dtype=np.uint8)
    pixels[:, :, :4, 0], pixels[:, :, 4:, 0] = 100, 200  # dark red, bright red
    policy = resolve(AugmentConfig(crop=1, jitter=0), "cifar10")  # flip 0.5, grey 0.2
    views = np.concatenate(list(one_view(pixels, policy, seed=0))).astype(int)
    is_grey = views[:, 0, 0, 1] > 0
    is_flipped = views[:, 0, 0].sum(1) > views[:, 0, 7].sum(1)
    assert is_grey.mean() == pytest.approx(0.2, abs=0.05)
    assert is_flipped[is_grey].mean() == pytest.approx(0.5, abs=0.12)
    assert is_flipped[~is_grey].mean() == pytest.approx(0.5, abs=0.06)


def test_jitter_moves_the_hue_too() -> None:
    pixels = np.full((8, 16, 16, 3), (200, 0, 0), dtype=np.uint8)
    red = Split(pixels, np.zeros(8, dtype=np.int64))
    config = AugmentConfig(crop=1.0, flip=0.0, jitter=0.4, grey=0.0)
    images, _ = batches(red, resolve(config, "cifar10"))[0]
    # Brightness, contrast and saturation treat the other two channels of a red image alike.
    assert not torch.equal(images[:, 1], images[:, 2])


def test_the_same_seed_gives_the_same_views() -> None:
    first, second = batches(noise(), FULL, seed=3), batches(noise(), FULL, seed=3)
    np.random.seed(99)  # nobody's business
    torch.manual_seed(99)
    # Out of order: a batch does not depend on those before it.
    for i in (2, 0, 1):
        torch.testing.assert_close(first[i], second[i], rtol=0, atol=0)
    torch.testing.assert_close(first[2], second[2], rtol=0, atol=0)


def test_another_seed_gives_another_order_and_other_views() -> None:
    first, second = batches(noise(), FULL, seed=3), batches(noise(), FULL, seed=4)
    assert not np.array_equal(np.concatenate(first.batches), np.concatenate(second.batches))
    same = Split(np.repeat(noise().images[:1], 16, axis=0), np.zeros(16, dtype=np.int64))
    first, second = batches(same, FULL, seed=3), batches(same, FULL, seed=4)
    assert not torch.equal(first[0][0], second[0][0])


def test_batches_of_an_epoch_are_augmented_differently() -> None:
    same = Split(np.repeat(noise().images[:1], 16, axis=0), np.zeros(16, dtype=np.int64))
    loader = batches(same, FULL)
    assert not torch.equal(loader[0][0], loader[1][0])


def test_views_do_not_depend_on_the_number_of_workers() -> None:
    alone, helped = (epoch(load_views(batches(noise(), FULL), workers)) for workers in (0, 2))
    torch.testing.assert_close(alone, helped, rtol=0, atol=0)


@pytest.mark.parametrize(("n", "kept"), [(30, 24), (32, 32), (9, 8)])
def test_an_epoch_shows_each_image_at_most_once_and_drops_the_incomplete_batch(
    n: int, kept: int
) -> None:
    loader = batches(noise(n), NOTHING)
    assert len(loader) == kept // 8
    shown = np.concatenate(loader.batches)
    assert len(shown) == len(set(shown.tolist())) == kept
    assert set(shown.tolist()) <= set(range(n))


@pytest.mark.parametrize("views", [1, 2, 3])
def test_labels_are_repeated_for_each_view(views: int) -> None:
    split = noise()
    loader = batches(split, FULL, views=views)
    images, labels = loader[0]
    assert images.shape == (8 * views, 3, 16, 16)
    assert labels.tolist() == split.labels[loader.batches[0]].tolist() * views


@pytest.mark.filterwarnings("ignore:The image is already gray")
@pytest.mark.parametrize("key", ["flip", "rotation", "jitter", "grey"])
def test_grey_images_take_every_step(key: str) -> None:
    config = AugmentConfig.model_validate({key: 1.0})
    images, _ = batches(noise(channels=1), resolve(config, "digits"))[0]
    assert images.shape == (16, 1, 16, 16)
    assert images.dtype == torch.uint8
