"""Augmentation of a whole batch: agrees in distribution with the image-by-image implementation."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from supcon.config import AugmentConfig
from supcon.images.policy import Policy, resolve
from supcon.images.views_by_batch import Augmentation, ResidentViews, _Hue
from supcon.images.views_by_image import one_view

DRAWS = 3000
NOTHING = {
    "crop": 1.0,
    "flip": 0.0,
    "rotation": 0.0,
    "jitter": 0.0,
    "grey": 0.0,
}  # blur and cutout are off


GOLDEN = [  # means of the channels of the first views of seed 0
    [71.794, 71.794, 71.794],
    [124.646, 159.433, 90.613],
    [173.102, 157.017, 118.354],
    [86.96, 155.518, 58.084],
    [143.317, 147.133, 94.897],
    [131.484, 139.551, 94.841],
]


def picture() -> Tensor:
    """(3, 16, 16): smooth colours without symmetry, so that every operation shows."""
    y, x = np.mgrid[0:16, 0:16] / 15
    channels = [40 + 150 * x, 220 - 170 * y, 30 + 100 * (x * y) + 60 * (x > 0.6)]
    return torch.tensor(np.stack(channels)).round().to(torch.uint8)


def policy(**changes: float | str) -> Policy:
    return resolve(AugmentConfig.model_validate(NOTHING | changes), "cifar10")


def augment(images: Tensor, p: Policy, generator: torch.Generator) -> Tensor:
    return Augmentation(p, images.shape[1:])(images, generator)


def both(p: Policy) -> tuple[Tensor, Tensor]:
    """(DRAWS, 3, 16, 16) views of one picture by either implementation."""
    images = picture().expand(DRAWS, -1, -1, -1).contiguous()
    ours = augment(images, p, torch.Generator().manual_seed(0))
    theirs = np.concatenate(list(one_view(images.permute(0, 2, 3, 1).numpy(), p, seed=0)))
    return ours, torch.from_numpy(theirs).permute(0, 3, 1, 2).float()


POLICIES: dict[str, dict[str, float | str]] = {
    "crop": {"crop": 0.2},
    "flip": {"flip": 0.3},
    "rotation": {"rotation": 30.0},
    "jitter": {"jitter": 0.4},
    "grey": {"grey": 0.4},
    "blur": {"blur": 0.7},
    "cutout": {"cutout": 0.4},
    "all": {"crop": 0.3, "flip": 0.5, "rotation": 15.0, "jitter": 0.4, "grey": 0.2,
            "blur": 0.5, "cutout": 0.25},
    "randaugment": {"policy": "randaugment"},
    "trivialaugment": {"policy": "trivialaugment", "strength": 0.6},
    "randaugment and more": {"policy": "randaugment", "crop": 0.3, "flip": 0.5, "blur": 0.5,
                             "cutout": 0.25},
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_views_have_the_distribution_of_the_image_by_image_ones(name: str) -> None:
    ours, theirs = both(policy(**POLICIES[name]))
    # In grey levels: the mean over all views, and their spread, at each pixel.
    for difference in (ours.mean(0) - theirs.mean(0), ours.std(0) - theirs.std(0)):
        assert difference.abs().mean() < 2.5
        assert difference.abs().max() < 8  # a corner is seldom cut out
    # Of views as a whole: brightness, contrast, colourfulness.
    for measure in (brightness, contrast, colourfulness):
        at = torch.linspace(0.05, 0.95, 10)
        difference = measure(ours).quantile(at) - measure(theirs).quantile(at)
        assert difference.abs().max() < 6, measure


def brightness(views: Tensor) -> Tensor:
    return views.mean((1, 2, 3))


def contrast(views: Tensor) -> Tensor:
    return views.std((1, 2, 3))


def colourfulness(views: Tensor) -> Tensor:
    return (views.amax(1) - views.amin(1)).mean((1, 2))


@pytest.mark.parametrize("sigma", [0.4, 1.3, 2.0])
def test_blur_of_a_width_is_that_of_the_image_by_image_one(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.images.views_by_image.BLUR_SIGMA", (sigma, sigma))
    monkeypatch.setattr("supcon.images.views_by_batch.BLUR_SIGMA", (sigma, sigma))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 24, 24), generator=generator).to(torch.uint8)
    ours = augment(images, policy(blur=1.0), generator)
    (theirs,) = one_view(images.permute(0, 2, 3, 1).numpy(), policy(blur=1.0), seed=0)
    difference = ours - torch.from_numpy(theirs).permute(0, 3, 1, 2)
    assert difference.abs().mean() < 1  # grey levels, of which they round
    assert difference.abs().max() < 8  # they cut the Gaussian off earlier


def test_views_of_a_seed_are_those_of_earlier_versions() -> None:
    images = picture().expand(6, -1, -1, -1)
    views = augment(images, resolve(AugmentConfig(), "cifar10"), torch.Generator().manual_seed(0))
    expected = torch.tensor(GOLDEN)
    torch.testing.assert_close(views.mean((2, 3)), expected, rtol=0, atol=0.01)


def test_a_cut_out_square_is_black_and_lies_anywhere_inside() -> None:
    images = torch.full((400, 1, 10, 8), 255, dtype=torch.uint8)
    views = augment(images, policy(cutout=0.5), torch.Generator().manual_seed(0))
    assert ((views == 0).sum((1, 2, 3)) == 5 * 4).all()
    assert set(views.unique().tolist()) == {0, 255}
    assert (views == 0).any(0).all()


@pytest.mark.parametrize("name", ["crop_jitter", "randaugment", "trivialaugment"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_0_leaves_images_as_they_are(channels: int, name: Any) -> None:
    images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
    nothing = resolve(AugmentConfig(policy=name, strength=0), "cifar10")
    assert torch.equal(augment(images, nothing, torch.Generator()), images.float())


@pytest.mark.parametrize("name", [name for name in POLICIES if name not in ("flip", "grey")])
def test_each_image_has_parameters_of_its_own(name: str) -> None:
    images = picture().expand(20, -1, -1, -1)
    views = augment(images, policy(**POLICIES[name]), torch.Generator().manual_seed(0))
    assert len(views.reshape(20, -1).unique(dim=0)) >= 12  # jitter and blur leave some alone


def test_grey_images_are_cropped_and_turned_but_have_no_colour_to_change() -> None:
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    coloured = augment(images, policy(jitter=0.4, grey=1.0), torch.Generator())
    assert torch.equal(coloured, images.float())
    assert not torch.equal(augment(images, policy(crop=0.3), torch.Generator()), images.float())


@pytest.mark.parametrize("turn", [-0.1, 0.0, 0.07, 0.5])
def test_hue_turns_as_in_the_standard_library(turn: float) -> None:
    pixels = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 255
    pixels[0], pixels[1] = torch.tensor([90.0, 90, 90]), torch.tensor([0.0, 0, 0])
    ours = _Hue(None).turned(pixels[:, :, None, None], torch.full((50, 1, 1, 1), turn))[:, :, 0, 0]
    for mine, pixel in zip(ours, pixels, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255).tolist())
        expected = torch.tensor(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255
        torch.testing.assert_close(mine, expected, rtol=0, atol=0.01)


def test_views_come_in_order_with_the_labels_of_their_images() -> None:
    images = torch.arange(23, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    nothing = Augmentation(resolve(AugmentConfig(strength=0), "cifar10"), (3, 4, 4))
    order_SB = np.array([[3, 1, 22], [7, 1, 0]])
    batches = ResidentViews(images, torch.arange(23) * 2, nothing, order_SB, views=2, seed=0)
    assert len(batches) == 2
    for (views, labels), chosen in zip(batches, order_SB.tolist(), strict=True):
        assert views[:, 0, 0, 0].tolist() == 2 * chosen
        assert labels.tolist() == [2 * each for each in 2 * chosen]


@pytest.mark.parametrize("name", ["crop_jitter", "randaugment", "trivialaugment"])
def test_views_are_a_function_of_the_seed(name: Any) -> None:
    images, labels = picture().expand(8, -1, -1, -1), torch.arange(8)
    full = Augmentation(resolve(AugmentConfig(policy=name), "cifar10"), (3, 16, 16))

    def epoch(seed: int) -> list[Tensor]:
        torch.rand(seed + 1)  # nothing depends on the global random numbers
        order_SB = np.arange(8).reshape(2, 4)
        shown = ResidentViews(images, labels, full, order_SB, views=2, seed=seed)
        return [views for views, _ in shown]

    first, again, other = epoch(3), epoch(3), epoch(4)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0][:4], first[0][4:])  # the views of an image differ


def test_brightness_contrast_saturation_and_hue_come_in_an_order_of_each_batch() -> None:
    augmentation = Augmentation(resolve(AugmentConfig(), "cifar10"), (3, 16, 16))
    steps: list[int] = []

    def noted(step: int, jitter: Callable[[Tensor, Tensor], Tensor]) -> Any:
        def call(x: Tensor, factor: Tensor) -> Tensor:
            steps.append(step)
            return jitter(x, factor)

        return call

    augmentation.jitters = [noted(i, jitter) for i, jitter in enumerate(augmentation.jitters)]
    order_SB = np.zeros((60, 2), dtype=np.int64)
    list(ResidentViews(picture()[None], torch.zeros(1), augmentation, order_SB, views=2, seed=0))
    orders = [tuple(steps[i : i + 4]) for i in range(0, len(steps), 4)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(orders)) > 15


@pytest.mark.parametrize("name", ["usual", "all", "randaugment and more"])
def test_what_is_compiled_gives_the_same_views(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # Traced and run without the compiler, which takes a minute on a CPU.
    traced = partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr("torch.compile", traced)
    p = resolve(AugmentConfig(), "cifar10") if name == "usual" else policy(**POLICIES[name])
    images = picture().expand(8, -1, -1, -1).contiguous()
    plain, compiled = Augmentation(p, (3, 16, 16)), Augmentation(p, (3, 16, 16))
    compiled.compile()
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        both = [each(images, torch.Generator().manual_seed(1), order) for each in (plain, compiled)]
        torch.testing.assert_close(*both, rtol=0, atol=0.01)  # grey levels
    assert compiled.warp is not compiled._warp
