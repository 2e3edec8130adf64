"""Embed images once; every metric works on the cached embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from supcon.device import Autocast
from supcon.image_files import Images
from supcon.models import Network

BATCH = 512  # images in an embedding pass, queries in a block of similarities
SIMILARITIES = 2**26  # at most so many in a block
TIE = 1e-6  # cosines this close are equal: a matrix product depends, in its last bit, on the place


@dataclass(frozen=True)
class Embedded:
    """What one pass over images gives, in their order; fp32, on the network's device."""

    features: Tensor
    """(N, D) encoder output, before the head; not normalised."""
    outputs: Tensor
    """(N, d) after the head: projections, or logits of cross entropy."""


@torch.no_grad()
def embed(
    network: Network, images: Images, *, device: torch.device, autocast: Autocast
) -> Embedded:
    """Features and head outputs of every image, in one pass.

    Args:
        network: in eval mode.
        images: (N, H, W, C).
        device: where the network is.
        autocast: makes the context of the forward pass.
    """
    features, outputs = [], []
    starts = range(0, len(images), BATCH)
    for start in tqdm(starts, desc="embedding", leave=False, disable=None, delay=1):
        batch = torch.tensor(images[start : start + BATCH])  # a copy: shared images are read-only
        with autocast():
            x = network.encoder(batch.permute(0, 3, 1, 2).to(device))
            features.append(x.float())
            outputs.append(network.head(x).float())
    return Embedded(torch.cat(features), torch.cat(outputs))


def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    *,
    classes: int,
    ks: Sequence[int],
    temperature: float,
) -> list[Tensor]:
    """Weighted k-nearest-neighbour vote by cosine similarity (Wu et al. 2018, arXiv:1805.01978).

    Args:
        bank: (N, D) features of the training images.
        bank_labels: (N,) class ids.
        queries: (M, D) features.
        classes: number of classes K.
        ks: numbers of neighbours, clamped to N. All that are as near as the k-th vote, so the order
            of the bank does not matter.
        temperature: a neighbour votes with weight exp(cosine / temperature).

    Returns:
        For each k (M,) class ids; of equal votes the lowest id wins.
    """
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    is_class_NK = torch.zeros(len(bank), classes, device=bank.device)
    is_class_NK.scatter_(1, bank_labels[:, None], 1)
    predictions: list[list[Tensor]] = [[] for _ in ks]
    for block in queries.split(max(1, min(BATCH, SIMILARITIES // len(bank)))):
        cosine = block @ bank.T  # (block, N)
        nearest = cosine.topk(min(max(ks), len(bank)), dim=1).values
        # Minus the largest: exp(1 / 0.07) is fine in fp32, but not for any temperature.
        weight = ((cosine - nearest[:, :1]) / temperature).exp()
        for k, found in zip(ks, predictions, strict=True):
            kth = nearest[:, min(k, len(bank)) - 1, None]
            votes = weight.masked_fill(cosine < kth - TIE, 0) @ is_class_NK
            found.append(votes.argmax(1))
    return [torch.cat(found) for found in predictions]


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of right answers, in [0, 1]."""
    return (predictions == labels).double().mean().item()


def balanced_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur in `labels` of the share of right answers, in [0, 1]."""
    counts = labels.bincount()
    right = labels[predictions == labels].bincount(minlength=len(counts))
    return (right / counts.double())[counts > 0].mean().item()


def is_balanced(labels: Tensor) -> bool:
    """Whether the most frequent class has at most 1.2 times the images of the rarest one.

    Accuracy and balanced accuracy then say the same. Classes that do not occur do not count.
    """
    counts = labels.bincount()
    counts = counts[counts > 0]
    return bool(counts.max() <= 1.2 * counts.min())
