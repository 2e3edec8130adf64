"""Encoder (any timm backbone, its stem fit to the image size), projection head, classifier.

The encoder takes raw uint8 images and normalises them itself, so saved weights are all that is
needed to embed an image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from supcon.config import Config, LossConfig, ModelConfig
from supcon.images.split import Splits
from supcon.network.backbone import Misfit, check_backbone, checkpoint_blocks, create_backbone
from supcon.network.small_maps import speed_up_small_maps
from supcon.network.stem import SMALL_IMAGE
from supcon.network.weights import Weights, read_weights
from supcon.parsing import UserError, one_line


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
    """The network to train, on the CPU: freshly drawn, or with the weights that it starts from.

    Args:
        config: model and loss.
        data: size, number of classes and, for normalisation, statistics of the training images;
            pretrained weights see images as those were that they were trained on.

    Raises:
        UserError: as in `build_encoder` and `read_weights`, and as in `checkpoint_blocks` for
            run.memory: checkpoint.
    """
    channels, weights = data.train.images.shape[3], read_weights(config.model)
    mean, std = _normalisation(data, weights, channels)
    try:
        network = build_network(
            config.model,
            config.loss,
            image_size=data.train.images.shape[1],
            classes=len(data.classes),
            mean=mean,
            std=std,
            weights=None if weights is None else weights.tensors,
        )
    except Misfit as problem:
        raise UserError(
            f"model.weights: {config.model.weights} does not fit {config.model.backbone}: "
            f"{problem}; set the model.backbone that it is of, or model.weights: none"
        ) from None
    if config.run.memory == "checkpoint":
        checkpoint_blocks(network.encoder.backbone, config.model.backbone)
    return network


def _normalisation(data: Splits, weights: Weights | None, channels: int) -> tuple[Tensor, Tensor]:
    if weights is not None:
        return weights.statistics(channels)
    mean, std = (torch.tensor(values).float() for values in data.train.channel_statistics)
    return mean, std


def build_network(
    config: ModelConfig,
    loss: LossConfig,
    *,
    image_size: int,
    classes: int,
    mean: Tensor,
    std: Tensor,
    weights: Mapping[str, Tensor] | None = None,
) -> Network:
    """Encoder and the head that the loss needs: a projection, a classifier for cross entropy, both.

    Args:
        config: backbone, stem and head.
        loss: what the network is trained with.
        image_size: side of the images in pixels.
        classes: number of classes.
        mean: one value a channel, in units of pixel value / 255.
        std: likewise.
        weights: of the backbone, perhaps among others; None: it is freshly drawn, whatever the
            config starts from.

    Raises:
        UserError, Misfit: as in `build_encoder`.
    """
    encoder = build_encoder(
        config.backbone,
        image_size=image_size,
        mean=mean,
        std=std,
        stem=config.stem,
        weights=weights,
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
    weights: Mapping[str, Tensor] | None = None,
) -> Encoder:
    """A timm backbone without classifier, its stem fit to the image size.

    Args:
        backbone: name of a timm model.
        image_size: side of the images in pixels.
        mean: one value a channel, in units of pixel value / 255.
        std: likewise.
        stem: small, full, or auto: small up to 64 pixels where the backbone allows it.
        weights: of the backbone, as `create_backbone` takes them; None: freshly drawn.

    Raises:
        UserError: timm has no such model, or it cannot take such images.
        Misfit: the weights are not its own.
    """
    check_backbone(backbone)
    wants_small = stem == "small" or (stem == "auto" and image_size <= SMALL_IMAGE)
    attempts = [True] if wants_small else [False]
    if stem == "auto" and wants_small:
        attempts.append(False)  # parallel branches, say, do not fit a smaller stem
    for small in attempts:
        try:
            channels = mean.numel()
            net = create_backbone(backbone, channels, image_size, small=small, tensors=weights)
            speed_up_small_maps(net)
            encoder = Encoder(net, mean, std, has_small_stem=small)
            return _checked(encoder, image_size, mean.numel())
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            reason = one_line(error)
    raise UserError(
        f"model.backbone: {backbone} cannot take {image_size}x{image_size} images ({reason}); "
        f"choose another backbone or data.image_size"
    )


def _checked(encoder: Encoder, image_size: int, channels: int) -> Encoder:
    """One forward pass: a size that does not fit is found before the search, not in it."""
    images = torch.zeros(2, channels, image_size, image_size, dtype=torch.uint8)
    with torch.no_grad():
        encoder.dim = encoder.eval()(images).shape[1]
    encoder.train()
    return encoder
