"""Embed images once; every metric works on the cached features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supcon.device import Autocast

BATCH = 512  # images in an embedding pass, similarities in a kNN block


@torch.no_grad()
def embed(
    encoder: nn.Module, images: npt.NDArray[np.uint8], *, device: torch.device, autocast: Autocast
) -> Tensor:
    """Encoder features of every image, in order.

    Args:
        encoder: maps uint8 images to features; must be in eval mode.
        images: (N, H, W, C).
        device: where the encoder is.
        autocast: makes the context of the forward pass.

    Returns:
        (N, D) fp32 features on `device`.
    """
    features = []
    for start in range(0, len(images), BATCH):
        batch = torch.tensor(images[start : start + BATCH])  # a copy: shared images are read-only
        with autocast():
            features.append(encoder(batch.permute(0, 3, 1, 2).to(device)).float())
    return torch.cat(features)


def knn_predict(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, *, classes: int, k: int, temperature: float
) -> Tensor:
    """Weighted k-nearest-neighbour vote by cosine similarity (Wu et al. 2018, arXiv:1805.01978).

    Args:
        bank: (N, D) features of the training images.
        bank_labels: (N,) class ids.
        queries: (M, D) features.
        classes: number of classes K.
        k: neighbours; clamped to N.
        temperature: a neighbour votes with weight exp(cosine / temperature).

    Returns:
        (M,) class ids; of equal votes the lowest id wins.
    """
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    predictions = []
    for block in queries.split(BATCH):
        cosine, index = (block @ bank.T).topk(min(k, len(bank)), dim=1)
        # Minus the largest: exp(1 / 0.07) is fine in fp32, but not for any temperature.
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        votes = torch.zeros(len(block), classes, device=bank.device)
        votes.scatter_add_(1, bank_labels[index], weight)
        predictions.append(votes.argmax(1))
    return torch.cat(predictions)


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of right answers, in [0, 1]."""
    return (predictions == labels).double().mean().item()
