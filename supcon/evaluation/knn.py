"""k-nearest-neighbour vote on features, by cosine similarity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

QUERIES = 512  # in a block, at most
SIMILARITIES = 2**26  # in a block, at most
TIE = 1e-6  # cosines this close are equal: a matrix product depends, in its last bit, on the place


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
        temperature: a neighbour votes with weight exp(cosine / temperature), > 0.

    Returns:
        For each k (M,) class ids; of equal votes the lowest id wins.
    """
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    is_class_NK = torch.zeros(len(bank), classes, device=bank.device)
    is_class_NK.scatter_(1, bank_labels[:, None], 1)
    predictions: list[list[Tensor]] = [[] for _ in ks]
    for block in queries.split(max(1, min(QUERIES, SIMILARITIES // len(bank)))):
        cosine = block @ bank.T  # (block, N)
        nearest = cosine.topk(min(max(ks), len(bank)), dim=1).values
        # Minus the largest: exp(1 / 0.07) is fine in fp32, but not for any temperature.
        weight = ((cosine - nearest[:, :1]) / temperature).exp()
        for k, found in zip(ks, predictions, strict=True):
            kth = nearest[:, min(k, len(bank)) - 1, None]
            votes = weight.masked_fill(cosine < kth - TIE, 0) @ is_class_NK
            found.append(votes.argmax(1))
    return [torch.cat(found) for found in predictions]


def nearest(bank: Tensor, queries: Tensor, k: int) -> Tensor:
    """(M, k) places of the nearest of bank (N, D) to queries (M, D) by cosine; of fewer, all."""
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    blocks = queries.split(max(1, min(QUERIES, SIMILARITIES // len(bank))))
    return torch.cat([(block @ bank.T).topk(min(k, len(bank)), dim=1).indices for block in blocks])
