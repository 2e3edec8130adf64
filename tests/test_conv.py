"""Convolutions without dead taps: the same function and gradients as torch's."""

from __future__ import annotations

import copy
import itertools

import pytest
import timm
import torch
from torch import Tensor, nn

from supcon.conv import LiveConv2d, leave_out_dead_taps, live_taps

GEOMETRIES = [
    (size, kernel, stride, padding)
    for size, kernel, stride, padding in itertools.product(
        range(1, 7), (1, 2, 3, 4, 5, 7), (1, 2, 3), (0, 1, 2, 3)
    )
    if padding <= kernel // 2 and size + 2 * padding >= kernel
]


def both(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Module]:
    """The convolution and its copy without dead taps."""
    holder = nn.Sequential(copy.deepcopy(conv))
    leave_out_dead_taps(holder)
    return conv, holder[0]


@pytest.mark.parametrize("groups", [1, 4])
def test_outputs_and_gradients_are_those_of_torch(groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for size, kernel, stride, padding in GEOMETRIES:
        conv = nn.Conv2d(4, 8, kernel, stride, padding, groups=groups).double()
        theirs, ours = both(conv)
        assert type(ours) is LiveConv2d
        x = torch.randn(3, 4, size, size + 1, generator=generator, dtype=torch.float64)
        results = []
        for net in (theirs, ours):
            pixels = x.clone().requires_grad_()
            y = net(pixels)
            y.square().sum().backward()
            results.append([y, pixels.grad, *(p.grad for p in net.parameters())])
        for expected, found in zip(*results, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), GEOMETRIES)
def test_a_tap_is_live_if_it_sees_a_pixel(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    outputs = (size + 2 * padding - kernel) // stride + 1
    seen = [
        tap
        for tap in range(kernel)
        if any(0 <= o * stride - padding + tap < size for o in range(outputs))
    ]
    first, end = live_taps(size, kernel, stride, padding)
    assert set(seen) <= set(range(first, end))
    assert (first, end - 1) == (seen[0], seen[-1])


def test_small_maps_meet_fewer_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = []

    def spy(x: Tensor, weight: Tensor, *_: object) -> Tensor:
        kernels.append(tuple(weight.shape[2:]))
        return x

    monkeypatch.setattr("supcon.conv.F.conv2d", spy)
    _, conv = both(nn.Conv2d(2, 2, 3, padding=1))
    conv(torch.zeros(1, 2, 1, 1))
    conv(torch.zeros(1, 2, 2, 1))
    assert kernels == [(1, 1), (3, 1)]


def test_a_network_keeps_its_parameters_and_their_names() -> None:
    net = timm.create_model("resnet18", num_classes=0).eval()
    before = copy.deepcopy(net)
    leave_out_dead_taps(net)
    assert net.state_dict().keys() == before.state_dict().keys()
    assert sum(type(m) is LiveConv2d for m in net.modules()) == 20
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(net(x), before(x))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),
    ],
)
def test_convolutions_of_another_kind_are_left_alone(conv: nn.Conv2d) -> None:
    assert type(both(conv)[1]) is nn.Conv2d
