"""What suits the images."""

from __future__ import annotations

import pytest

from search.proposal.choices import Network, batch_sizes, image_sizes, networks
from search.proposal.survey import survey
from supcon.network.backbone import check_backbone
from tests.proposal.conftest import Folder


@pytest.mark.parametrize(
    ("side", "on_gpu", "sizes"),
    [
        (9, True, [16]),
        (28, False, [32]),
        (32, True, [32]),
        (50, False, [48, 32]),
        (500, False, [64, 48, 32]),
        (500, True, [224, 128, 96, 64, 48]),
    ],
)
def test_images_are_made_smaller_and_hardly_ever_larger(
    side: int, on_gpu: bool, sizes: list[int]
) -> None:
    assert image_sizes(side, on_gpu=on_gpu) == sizes


@pytest.mark.parametrize("n_train", [8, 15, 43, 127, 128, 240, 1000, 50_000])
def test_batches_are_powers_of_two_and_at_most_a_quarter(n_train: int) -> None:
    small, large = batch_sizes(n_train)
    assert 2 <= small <= large <= min(256, n_train // 4)
    assert large.bit_count() == small.bit_count() == 1
    assert small == large or large >= 32


def test_few_large_images_start_from_published_weights_where_they_can_be_had(
    folder: Folder,
) -> None:
    found, _ = survey(folder({"cat": 20, "dog": 20}, size=(100, 90)))
    some = networks(found, on_gpu=False, can_pretrain=True)
    assert some[0] == Network(("resnet18",), 64, "full", pretrained=True)
    assert not any(n.pretrained for n in networks(found, on_gpu=False, can_pretrain=False))
    small, _ = survey(folder({"cat": 20, "dog": 20}, size=(40, 40)))
    assert not any(n.pretrained for n in networks(small, on_gpu=True, can_pretrain=True))


@pytest.mark.parametrize("on_gpu", [False, True])
def test_every_network_is_one_of_timm(folder: Folder, on_gpu: bool) -> None:
    found, _ = survey(folder({"cat": 20, "dog": 20}))
    for network in networks(found, on_gpu=on_gpu, can_pretrain=True):
        for backbone in network.backbones:
            check_backbone(backbone)
