"""How a stem is fit to small images, with and without weights to keep."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from supcon.network.stem import fit_to_size


@pytest.mark.parametrize(
    ("name", "path", "kernel", "stride"),
    [("resnet18", "conv1", (3, 3), (1, 1)), ("convnext_atto", "stem.0", (4, 4), (2, 2))],
)
def test_a_fresh_small_stem_has_small_kernels_and_no_pool(
    name: str, path: str, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    net = timm.create_model(name, num_classes=0)
    fit_to_size(net, 32, small=True, keep_kernels=False)
    conv = net.get_submodule(path)
    assert isinstance(conv, nn.Conv2d)
    assert (conv.kernel_size, conv.stride) == (kernel, stride)
    assert isinstance(getattr(net, "maxpool", nn.Identity()), nn.Identity)


@pytest.mark.parametrize(
    ("name", "path", "stride"), [("resnet18", "conv1", (1, 1)), ("convnext_atto", "stem.0", (2, 2))]
)
def test_a_small_stem_keeps_kernels_that_were_trained(
    name: str, path: str, stride: tuple[int, int]
) -> None:
    net = timm.create_model(name, num_classes=0)
    kernels = net.get_submodule(path).weight.clone()
    fit_to_size(net, 32, small=True, keep_kernels=True)
    conv = net.get_submodule(path)
    assert isinstance(conv, nn.Conv2d)
    assert conv.stride == stride
    assert torch.equal(conv.weight, kernels)
    assert net(torch.zeros(2, 3, 32, 32)).isfinite().all()


def test_a_full_stem_stays_as_it_is() -> None:
    net = timm.create_model("resnet18", num_classes=0)
    fit_to_size(net, 32, small=False, keep_kernels=False)
    assert net.get_submodule("conv1").stride == (2, 2)
    assert isinstance(net.maxpool, nn.MaxPool2d)
