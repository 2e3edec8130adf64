"""The augmentation policy, and the batches of views made with it."""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from supcon.config import AugmentConfig
from supcon.images.policy import Policy, resolve
from supcon.images.split import Split
from supcon.images.views_by_image import StreamedViews, ViewBatches, one_view


def noise(n: int = 30, *, channels: int = 3, size: int = 16) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    return Split(pixels, np.arange(n) % 5)


EIGHT = np.array([3, 1, 22, 7, 0, 11, 5, 2])


def batch(
    split: Split,
    policy: Policy,
    chosen: npt.NDArray[np.intp] = EIGHT,
    *,
    views: int = 2,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    return ViewBatches(split, policy, views)[0, chosen]


FULL = resolve(AugmentConfig(), "cifar10")
DIGITS = resolve(AugmentConfig(), "digits")
RANDAUGMENT = resolve(AugmentConfig(policy="randaugment"), "cifar10")
TRIVIALAUGMENT = resolve(AugmentConfig(policy="trivialaugment"), "digits")
NOTHING = resolve(AugmentConfig(strength=0), "cifar10")


@pytest.mark.parametrize("name", ["crop_jitter", "randaugment", "trivialaugment"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_0_leaves_images_as_they_are(channels: int, name: Any) -> None:
    split = noise(channels=channels)
    nothing = resolve(AugmentConfig(policy=name, strength=0), "cifar10")
    images, _ = batch(split, nothing, views=3)
    expected = split.images[EIGHT]
    assert images.dtype == torch.uint8
    for view in images.permute(0, 2, 3, 1).split(8):
        assert np.array_equal(view.numpy(), expected)


@pytest.mark.parametrize("name", ["crop_jitter", "randaugment", "trivialaugment"])
def test_stronger_augmentation_changes_more(name: Any) -> None:
    split = noise()
    original = torch.from_numpy(split.images).permute(0, 3, 1, 2).float()
    distances = []
    for strength in (0.0, 0.1, 1.0):
        policy = resolve(AugmentConfig(policy=name, strength=strength), "cifar10")
        views, _ = batch(split, policy, np.arange(30), views=1)
        distances.append((views.float() - original).abs().mean().item())
    assert distances[0] == 0 < distances[1] < distances[2]


@pytest.mark.parametrize(
    "policy",
    [FULL, DIGITS, RANDAUGMENT, TRIVIALAUGMENT],
    ids=["photos", "digits", "randaugment", "trivialaugment"],
)
def test_each_view_of_each_image_has_parameters_of_its_own(policy: Policy) -> None:
    split = noise()
    same = Split(np.repeat(split.images[:1], 16, axis=0), split.labels[:16])
    images, _ = batch(same, policy, np.arange(16))
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
    before = torch.from_numpy(split.images[EIGHT]).permute(0, 3, 1, 2)
    after, _ = batch(split, policy, views=1)
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
    images, _ = batch(red, resolve(config, "cifar10"), np.arange(8))
    # Brightness, contrast and saturation treat the other two channels of a red image alike.
    assert not torch.equal(images[:, 1], images[:, 2])


@pytest.mark.parametrize("policy", [FULL, RANDAUGMENT], ids=["photos", "randaugment"])
def test_a_batch_is_a_function_of_its_seed(policy: Policy) -> None:
    made = ViewBatches(noise(), policy, 2)
    first = made[3, np.arange(8)]
    np.random.seed(99)  # nobody's business
    torch.manual_seed(99)
    other = made[4, np.arange(8)]
    torch.testing.assert_close(made[3, np.arange(8)], first, rtol=0, atol=0)
    assert not torch.equal(first[0], other[0])


def test_batches_of_an_epoch_are_augmented_differently() -> None:
    same = Split(np.repeat(noise().images[:1], 16, axis=0), np.zeros(16, dtype=np.int64))
    (first, _), (second, _) = StreamedViews(ViewBatches(same, FULL, 2), 0).epoch(
        np.arange(16).reshape(2, 8), seed=0
    )
    assert not torch.equal(first, second)


def test_views_do_not_depend_on_the_number_of_workers_which_stay_for_the_next_epoch() -> None:
    seen: dict[int, list[tuple[Tensor, Tensor]]] = {0: [], 2: []}
    for workers, batches in seen.items():
        streamed = StreamedViews(ViewBatches(noise(), FULL, 2), workers)
        pids = []
        for seed, order in enumerate((range(24), range(24), range(29, 5, -1))):
            batches += streamed.epoch(np.array(order).reshape(3, 8), seed)
            pids.append([p.pid for p in multiprocessing.active_children()])
        assert len(pids[0]) == workers
        assert pids[0] == pids[1] == pids[2]
        del streamed
    torch.testing.assert_close(seen[0], seen[2], rtol=0, atol=0)


def test_an_epoch_that_was_left_says_nothing_in_the_next() -> None:
    streamed = StreamedViews(ViewBatches(noise(), NOTHING, 1), 2)
    next(iter(streamed.epoch(np.arange(24).reshape(6, 4), seed=0)))
    again = [y.tolist() for _, y in streamed.epoch(np.arange(6).reshape(3, 2), seed=1)]
    assert again == [[0, 1], [2, 3], [4, 0]]


@pytest.mark.parametrize("views", [1, 2, 3])
def test_labels_are_repeated_for_each_view(views: int) -> None:
    split = noise()
    images, labels = batch(split, FULL, views=views)
    assert images.shape == (8 * views, 3, 16, 16)
    assert labels.tolist() == split.labels[EIGHT].tolist() * views


@pytest.mark.filterwarnings("ignore:The image is already gray")
@pytest.mark.parametrize("key", ["flip", "rotation", "jitter", "grey"])
def test_grey_images_take_every_step(key: str) -> None:
    config = AugmentConfig.model_validate({key: 1.0})
    images, _ = batch(noise(channels=1), resolve(config, "digits"))
    assert images.shape == (16, 1, 16, 16)
    assert images.dtype == torch.uint8


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_grey_images_take_every_operation(name: Any) -> None:
    split = noise(channels=1)
    policy = resolve(AugmentConfig(policy=name), "digits")
    images, _ = batch(split, policy, np.arange(30), views=10)
    assert images.shape == (300, 1, 16, 16)
    assert images.dtype == torch.uint8
