"""MixUp and CutMix against torchvision's, on the same draws, and what must hold for any batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from supcon.config import AugmentConfig
from supcon.images.mixing import Draws, MixedViews, draw, mixed, own_pixels

CLASSES, HEIGHT, WIDTH = 4, 12, 20


def views(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = (n, 3, HEIGHT, WIDTH)
    images = torch.randint(256, size, generator=generator, dtype=torch.uint8)
    return images, torch.randint(CLASSES, (n,), generator=generator)


def drawn(n: int = 64, seed: int = 0, **settings: float) -> Draws:
    return draw(AugmentConfig(**settings), 1, n, seed).step(0)


def by_torchvision(pair: Tensor, labels: Tensor, draws: Draws, i: int) -> tuple[Tensor, Tensor]:
    """A view and its partner by torchvision's transform, which draws what view `i` has drawn."""
    kind = v2.CutMix if draws.is_cut[i] else v2.MixUp
    transform: Any = kind(num_classes=CLASSES)
    transform._dist = _Says(draws.own[i].item())
    where = iter([int(draws.x[i] * WIDTH), int(draws.y[i] * HEIGHT)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randint", lambda *_, **__: torch.tensor([next(where)]))
        images, soft = transform(pair.float(), labels)
    return images[0], soft[0]  # it mixes each image with the one before it


class _Says:
    def __init__(self, share: float) -> None:
        self.share = share

    def sample(self, size: tuple[int, ...]) -> Tensor:
        return torch.tensor(self.share)


@pytest.mark.parametrize("settings", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 1, "cutmix": 2}])
def test_views_and_labels_are_those_of_torchvision_for_the_same_draws(
    settings: dict[str, float],
) -> None:
    images, labels = views(64)
    draws = draw(AugmentConfig(**settings), 1, 64, seed=0).step(0)
    found, soft = mixed(images, labels, draws, CLASSES)
    for i, partner in enumerate(draws.partner):
        both = torch.stack([torch.tensor(i), partner])
        image, label = by_torchvision(images[both], labels[both], draws, i)
        torch.testing.assert_close(found[i], image, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(soft[i], label, rtol=1e-5, atol=1e-6)


def test_a_label_says_how_many_pixels_are_the_view_s_own() -> None:
    draws = drawn(200, cutmix=1.0)
    own = own_pixels(draws, HEIGHT, WIDTH)
    images, labels = torch.zeros(200, 1, HEIGHT, WIDTH), torch.arange(200)
    images[:] = labels[:, None, None, None]
    found, soft = mixed(images, labels, draws, 200)
    for i in range(200):
        count = int((found[i] == i).sum())
        if draws.partner[i] != i:
            assert soft[i, i].item() == pytest.approx(count / (HEIGHT * WIDTH), abs=1e-6)
    assert set(own.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_are_drawn_from_the_beta_distribution(alpha: float) -> None:
    own = drawn(4000, mixup=alpha).own.double().numpy()
    assert stats.kstest(own, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_as_many_views_are_mixed_as_the_probability_says() -> None:
    draws = drawn(20_000, mixup=0.5, cutmix=1.0, mix_probability=0.3)
    is_mixed = draws.own < 1
    assert is_mixed.double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 20_000))
    of_cut = draws.is_cut[is_mixed].double().mean().item()
    assert of_cut == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 6000))


def test_a_view_that_is_not_mixed_stays_as_it_is_and_its_label_hard() -> None:
    images, labels = views(500)
    draws = drawn(500, mixup=1.0, cutmix=1.0, mix_probability=0.5)
    found, soft = mixed(images, labels, draws, CLASSES)
    kept = draws.own == 1
    assert 100 < kept.sum() < 400
    assert torch.equal(found[kept], images[kept].float())
    assert torch.equal(soft[kept], torch.eye(CLASSES)[labels[kept]])


def test_every_view_is_somebody_s_partner_once() -> None:
    draws = draw(AugmentConfig(mixup=1.0), 3, 50, seed=1)
    for step in range(3):
        assert sorted(draws.step(step).partner.tolist()) == list(range(50))
    assert not torch.equal(draws.partner[0], draws.partner[1])


def test_mixing_alone_is_drawn_where_the_other_is_off() -> None:
    assert not drawn(mixup=1.0).is_cut.any()
    assert drawn(cutmix=1.0).is_cut.all()


def test_draws_are_a_function_of_the_seed() -> None:
    same, again, other = (drawn(seed=seed, mixup=1.0, cutmix=1.0) for seed in (3, 3, 4))
    for name, values in vars(same).items():
        assert torch.equal(values, getattr(again, name))
        assert not torch.equal(values, getattr(other, name))


def test_batches_stay_as_many_and_views_in_channels_last() -> None:
    batches = [views(8, seed) for seed in range(3)]
    draws = draw(AugmentConfig(cutmix=1.0), 3, 8, seed=0)
    shown = MixedViews(batches, draws, CLASSES)
    assert len(shown) == 3
    for number, (images, soft) in enumerate(shown):
        assert images.is_contiguous(memory_format=torch.channels_last)
        expected = mixed(*batches[number], draws.step(number), CLASSES)
        assert torch.equal(images, expected[0])
        assert torch.equal(soft, expected[1])
        np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
