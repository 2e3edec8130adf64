"""A backbone's stem and input, fit to the image size."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

SMALL_IMAGE = 64  # up to this side in pixels `stem: auto` means `small`


def fit_to_size(net: nn.Module, image_size: int, *, small: bool, keep_kernels: bool) -> None:
    """Tell transformers, which are built for one size, about it; shrink the stem of the others.

    Args:
        net: a model of timm, changed in place.
        image_size: side of the images in pixels.
        small: whether the stem's downsampling is removed.
        keep_kernels: whether its first convolution keeps the size, and weights, of its kernels.
    """
    resize: Any = getattr(net, "set_input_size", None)
    if resize is None:
        if small:
            _shrink_stem(net, keep_kernels=keep_kernels)
        return
    options: dict[str, Any] = {"img_size": (image_size, image_size)}
    if small and "patch_size" in inspect.signature(resize).parameters:
        options["patch_size"] = max(2, image_size // 8)
    resize(**options)


def first_conv(net: nn.Module) -> str:
    """Path of the first convolution of a model of timm; empty where it has none."""
    config: Any = net.pretrained_cfg
    found: str | tuple[str, ...] = config.get("first_conv") or ""
    return found if isinstance(found, str) else found[0]


def _shrink_stem(net: nn.Module, *, keep_kernels: bool) -> None:
    """Remove the stem's downsampling: small images would reach the last stage as one pixel.

    The first convolution gets stride 1 (a patchifying one: 2) and the max-pool after it goes. A
    fresh 7x7 convolution also becomes 3x3, as is usual on CIFAR; pretrained kernels are kept.
    """
    path = first_conv(net)
    conv = net.get_submodule(path) if path else None
    if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1):
        is_patchify = conv.kernel_size == conv.stride
        stride = 2 if is_patchify else 1
        kernel = conv.kernel_size[0] if keep_kernels else min(conv.kernel_size[0], stride + 2)
        if kernel == conv.kernel_size[0] and not is_patchify:
            conv.stride = (1, 1)
        else:
            new = type(conv)(
                conv.in_channels,
                conv.out_channels,
                kernel,
                stride=stride,
                padding=(kernel - 1) // 2,
                bias=conv.bias is not None,
            )
            if keep_kernels:
                new.load_state_dict(conv.state_dict())
            else:
                nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, new)
    for owner, name in ((net, "maxpool"), (getattr(net, "features", None), "pool0")):
        if isinstance(getattr(owner, name, None), nn.Module):
            setattr(owner, name, nn.Identity())
