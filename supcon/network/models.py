"""Encoder (any timm backbone, its stem fit to the image size), projection head, classifier.

The encoder takes raw uint8 images and normalises them itself, so saved weights are all that is
needed to embed an image.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import timm
import torch
from torch import Tensor, nn

from supcon.config import Config, LossConfig, ModelConfig
from supcon.images.split import Splits
from supcon.network.small_maps import speed_up_small_maps
from supcon.parsing import UserError, one_line

SMALL_IMAGE = 64  # up to this side in pixels `stem: auto` means `small`


class Encoder(nn.Module):
    """uint8 images (N, C, H, W) -> features (N, D)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, mean: Tensor, std: Tensor, *, has_small_stem: bool = False
    ) -> None:
        """`mean` and `std` are (C,), in units of pixel value / 255."""
        super().__init__()
        self.backbone = backbone
        self.has_small_stem = has_small_stem
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1))
        self.register_buffer("std", std.reshape(1, -1, 1, 1))
        self.dim: int = backbone.num_features  # type: ignore[assignment]

    def describe(self) -> str:
        """`small stem, 11.2 million parameters`."""
        stem = "small" if self.has_small_stem else "full"
        n = sum(parameter.numel() for parameter in self.backbone.parameters())
        return f"{stem} stem, {n / 1e6:.1f} million parameters"

    def forward(self, images: Tensor) -> Tensor:
        """Features before any head; not normalised."""
        features: Tensor = self.backbone((images.float() / 255 - self.mean) / self.std)
        return features


class ProjectionHead(nn.Module):
    """Features (N, D) -> projections (N, d); stage two drops it (arXiv:2004.11362, 3.1)."""

    def __init__(self, dim: int, head_dim: int, kind: str) -> None:
        """`kind` is linear, or mlp: two layers with a ReLU between."""
        super().__init__()
        self.layers = (
            nn.Linear(dim, head_dim)
            if kind == "linear"
            else nn.Sequential(nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, head_dim))
        )

    def forward(self, features: Tensor) -> Tensor:
        """Projections of any length; losses and kNN normalise them, in fp32."""
        projections: Tensor = self.layers(features)
        return projections


class JointHead(nn.Module):
    """Features (N, D) -> projections (N, d), and beside them the logits (N, K) of a classifier."""

    def __init__(self, projection: ProjectionHead, classifier: nn.Linear) -> None:
        super().__init__()
        self.projection, self.classifier = projection, classifier

    def forward(self, features: Tensor) -> Tensor:
        """(N, d + K), which `by_head` takes apart."""
        return torch.cat([self.projection(features), self.classifier(features)], 1)


def by_head(outputs: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Projections (N, d) and logits (N, K) of a network's outputs; (N, 0) of the head it has not.

    Args:
        outputs: (N, d), (N, K) or, of a joint head, (N, d + K).
        config: of the run that the network comes from.
    """
    d = config.model.head_dim if config.loss.has_classifier else outputs.shape[1]
    projections, logits = outputs.tensor_split([d if config.loss.is_contrastive else 0], dim=1)
    return projections, logits


class Network(nn.Module):
    """What stage one trains: an encoder and a head."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Projections for a contrastive loss, logits for cross entropy, for both at once both."""
        output: Tensor = self.head(self.encoder(images))
        return output


def network_for(config: Config, data: Splits) -> Network:
    """The network to train, freshly drawn, on the CPU.

    Args:
        config: model and loss.
        data: size, number of classes and, for normalisation, statistics of the training images.

    Raises:
        UserError: as in `build_encoder`, and as in `checkpoint_blocks` for run.memory: checkpoint.
    """
    mean, std = (torch.tensor(values).float() for values in data.train.channel_statistics)
    network = build_network(
        config.model,
        config.loss,
        image_size=data.train.images.shape[1],
        classes=len(data.classes),
        mean=mean,
        std=std,
    )
    if config.run.memory == "checkpoint":
        checkpoint_blocks(network.encoder.backbone, config.model.backbone)
    return network


def checkpoint_blocks(net: nn.Module, name: str) -> None:
    """Let the blocks of a timm model keep their inputs, and make the rest again when it is needed.

    Args:
        net: the model, changed in place.
        name: what it is called.

    Raises:
        UserError: timm does not offer that for it.
    """
    turn_on: Any = getattr(net, "set_grad_checkpointing", None)
    try:
        if turn_on is None:
            raise AssertionError
        turn_on(True)
    except AssertionError:  # how timm refuses
        raise UserError(
            f"run.memory: checkpoint is not offered for {name} by timm; use cached, or another "
            f"model.backbone"
        ) from None


def build_network(
    config: ModelConfig,
    loss: LossConfig,
    *,
    image_size: int,
    classes: int,
    mean: Tensor,
    std: Tensor,
) -> Network:
    """Encoder and the head that the loss needs: a projection, a classifier for cross entropy, both.

    Args:
        config: backbone, stem and head.
        loss: what the network is trained with.
        image_size: side of the images in pixels.
        classes: number of classes.
        mean: one value a channel, in units of pixel value / 255.
        std: likewise.

    Raises:
        UserError: as in `build_encoder`.
    """
    encoder = build_encoder(
        config.backbone,
        image_size=image_size,
        mean=mean,
        std=std,
        stem=config.stem,
        pretrained=config.pretrained,
    )
    head = _build_head(config, loss, encoder.dim, classes)
    return Network(encoder, head).to(memory_format=torch.channels_last)


def _build_head(config: ModelConfig, loss: LossConfig, dim: int, classes: int) -> nn.Module:
    if not loss.is_contrastive:
        return nn.Linear(dim, classes)
    projection = ProjectionHead(dim, config.head_dim, config.head)
    return JointHead(projection, nn.Linear(dim, classes)) if loss.has_classifier else projection


def build_encoder(
    backbone: str,
    *,
    image_size: int,
    mean: Tensor,
    std: Tensor,
    stem: str = "auto",
    pretrained: bool = False,
) -> Encoder:
    """A timm backbone without classifier, its stem fit to the image size.

    Args:
        backbone: name of a timm model.
        image_size: side of the images in pixels.
        mean: one value a channel, in units of pixel value / 255.
        std: likewise.
        stem: small, full, or auto: small up to 64 pixels where the backbone allows it.
        pretrained: start from timm's published weights.

    Raises:
        UserError: timm has no such model, its weights cannot be had, or it cannot take such images.
    """
    check_backbone(backbone)
    wants_small = stem == "small" or (stem == "auto" and image_size <= SMALL_IMAGE)
    attempts = [True] if wants_small else [False]
    if stem == "auto" and wants_small:
        attempts.append(False)  # parallel branches, say, do not fit a smaller stem
    for small in attempts:
        net = _create(backbone, mean.numel(), pretrained)
        try:
            _fit_to_size(net, image_size, small=small, keep_weights=pretrained)
            speed_up_small_maps(net)
            encoder = Encoder(net, mean, std, has_small_stem=small)
            return _checked(encoder, image_size, mean.numel())
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            reason = one_line(error)
    raise UserError(
        f"model.backbone: {backbone} cannot take {image_size}x{image_size} images ({reason}); "
        f"choose another backbone or data.image_size"
    )


def check_backbone(name: str) -> None:
    """Raise a UserError with similar names unless timm has a model called `name`."""
    if not timm.is_model(name.split(".")[0]):
        similar = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; similar: {', '.join(similar)}" if similar else ""
        raise UserError(f"model.backbone: timm has no model '{name}'{hint}")


def _create(backbone: str, channels: int, pretrained: bool) -> nn.Module:
    try:
        net: nn.Module = timm.create_model(
            backbone, pretrained=pretrained, num_classes=0, in_chans=channels
        )
    except Exception as error:  # whatever timm, its hub client or the network raise
        if not pretrained:
            raise UserError(
                f"model.backbone: {backbone} cannot be built: {one_line(error)}"
            ) from error
        raise UserError(
            f"model.pretrained: the weights of {backbone} cannot be fetched ({one_line(error)}); "
            f"connect to the internet, set HF_HOME to a cache that holds them, or set "
            f"model.pretrained: false"
        ) from error
    return net


def _fit_to_size(net: nn.Module, image_size: int, *, small: bool, keep_weights: bool) -> None:
    """Tell transformers, which are built for one size, about it; shrink the stem of the others."""
    resize: Any = getattr(net, "set_input_size", None)
    if resize is None:
        if small:
            _shrink_stem(net, keep_weights=keep_weights)
        return
    options: dict[str, Any] = {"img_size": (image_size, image_size)}
    if small and "patch_size" in inspect.signature(resize).parameters:
        options["patch_size"] = max(2, image_size // 8)
    resize(**options)


def _shrink_stem(net: nn.Module, *, keep_weights: bool) -> None:
    """Remove the stem's downsampling: small images would reach the last stage as one pixel.

    The first convolution gets stride 1 (a patchifying one: 2) and the max-pool after it goes. A
    fresh 7x7 convolution also becomes 3x3, as is usual on CIFAR; pretrained kernels are kept.
    """
    first = net.pretrained_cfg.get("first_conv")  # type: ignore[union-attr, operator]
    path = first[0] if isinstance(first, tuple) else first
    conv = net.get_submodule(path) if path else None
    if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1):
        is_patchify = conv.kernel_size == conv.stride
        stride = 2 if is_patchify else 1
        kernel = conv.kernel_size[0] if keep_weights else min(conv.kernel_size[0], stride + 2)
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
            if keep_weights:
                new.load_state_dict(conv.state_dict())
            else:
                nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, new)
    for owner, name in ((net, "maxpool"), (getattr(net, "features", None), "pool0")):
        if isinstance(getattr(owner, name, None), nn.Module):
            setattr(owner, name, nn.Identity())


def _checked(encoder: Encoder, image_size: int, channels: int) -> Encoder:
    """One forward pass: a size that does not fit is found before the search, not in it."""
    images = torch.zeros(2, channels, image_size, image_size, dtype=torch.uint8)
    with torch.no_grad():
        encoder.dim = encoder.eval()(images).shape[1]
    encoder.train()
    return encoder
