"""One pass of images through a network; every metric works on what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from supcon.images.files import Images
from supcon.network.device import Autocast, send
from supcon.network.models import Network

BATCH = 512  # images in a forward pass


@dataclass(frozen=True)
class Embedded:
    """What one pass over images gives, in their order; fp32, on the network's device."""

    features: Tensor
    """(N, D) encoder output, before the head; not normalised."""
    outputs: Tensor
    """(N, d) after the head: projections, or logits of cross entropy."""


@torch.no_grad()
def embed(
    network: Network,
    images: Images,
    *,
    device: torch.device,
    autocast: Autocast,
    batch_size: int = BATCH,
) -> Embedded:
    """Features and head outputs of every image, in one pass.

    Args:
        network: in eval mode.
        images: (N, H, W, C) uint8.
        device: where the network is.
        autocast: makes the context of the forward pass.
        batch_size: images in a forward pass.
    """
    features, outputs = [], []
    starts = range(0, max(1, len(images)), batch_size)  # also of none: their shape is known
    for start in tqdm(starts, desc="embedding", leave=False, disable=None, delay=1):
        # A copy: shared images are read-only.
        batch = torch.tensor(images[start : start + batch_size])
        with autocast():
            x = network.encoder(send(batch.permute(0, 3, 1, 2), device))
            features.append(x.float())
            outputs.append(network.head(x).float())
    return Embedded(torch.cat(features), torch.cat(outputs))
