"""Convolutions on small maps: the same function and gradients as torch's."""

from __future__ import annotations

import copy
import itertools

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supcon.network.small_maps import SmallMapConv2d, slide_again, speed_up_small_maps

GEOMETRIES = [
    (size, kernel, stride, padding)
    for size, kernel, stride, padding in itertools.product(
        range(1, 7), (1, 2, 3, 4, 5, 7), (1, 2, 3), (0, 1, 2, 3)
    )
    if padding <= kernel // 2 and size + 2 * padding >= kernel
]


def both(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Module]:
    """The convolution and its copy for small maps."""
    holder = nn.Sequential(copy.deepcopy(conv))
    speed_up_small_maps(holder)
    return conv, holder[0]


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_torch(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    for size, kernel, stride, padding in GEOMETRIES:
        conv = nn.Conv2d(4, 8, kernel, stride, padding, bias=bias).double()
        theirs, ours = both(conv)
        assert type(ours) is SmallMapConv2d
        x = torch.randn(3, 4, size, size + 1, generator=generator, dtype=torch.float64)
        results = []
        for net in (theirs, ours):
            pixels = x.clone().requires_grad_()
            y = net(pixels)
            y.square().sum().backward()
            results.append([y, pixels.grad, *(p.grad for p in net.parameters())])
        for expected, found in zip(*results, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "matrix"),
    [
        (1, 3, 1, 1, (8, 4)),
        (2, 3, 1, 1, (8 * 4, 4 * 4)),
        (2, 3, 2, 1, (8, 4 * 4)),
        (4, 7, 1, 3, (8 * 16, 4 * 16)),
        (1, 1, 1, 0, (8, 4)),
        (3, 3, 1, 0, (8, 4 * 9)),
        (3, 3, 1, 1, None),  # an output at the edge does not see the other edge
        (2, 1, 1, 0, None),
        (2, 1, 2, 0, None),
    ],
)
def test_maps_are_multiplied_by_one_matrix_where_each_output_sees_all_pixels(
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    matrix: tuple[int, int] | None,
) -> None:
    seen: list[tuple[int, ...]] = []
    linear = F.linear

    def spy(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(tuple(weight.shape))
        return linear(x, weight, bias)

    monkeypatch.setattr("supcon.network.small_maps.F.linear", spy)
    _, conv = both(nn.Conv2d(4, 8, kernel, stride, padding))
    conv(torch.zeros(1, 4, size, size))
    assert seen == ([] if matrix is None else [matrix])


def test_outputs_are_in_channels_last_where_the_inputs_are() -> None:
    _, conv = both(nn.Conv2d(4, 8, 3, padding=1))
    x = torch.randn(2, 4, 2, 2).to(memory_format=torch.channels_last)
    assert conv(x).is_contiguous(memory_format=torch.channels_last)


def test_a_network_keeps_its_parameters_and_their_names() -> None:
    net = timm.create_model("resnet18", num_classes=0).eval()
    before = copy.deepcopy(net)
    speed_up_small_maps(net)
    assert net.state_dict().keys() == before.state_dict().keys()
    assert sum(type(m) is SmallMapConv2d for m in net.modules()) == 20
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(net(x), before(x))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
    ],
)
def test_convolutions_of_another_kind_are_left_alone(conv: nn.Conv2d) -> None:
    assert type(both(conv)[1]) is nn.Conv2d


def test_a_network_gets_its_plain_convolutions_back() -> None:
    net = timm.create_model("test_resnet", num_classes=0).eval()
    plain, images = copy.deepcopy(net), torch.randn(2, 3, 16, 16)
    speed_up_small_maps(net)
    assert any(type(module) is SmallMapConv2d for module in net.modules())
    slide_again(net)
    assert [type(module) for module in net.modules()] == [type(m) for m in plain.modules()]
    assert torch.equal(net(images), plain(images))
