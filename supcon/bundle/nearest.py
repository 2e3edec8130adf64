"""The nearest images of a gallery, and how they vote."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from supcon.bundle.gallery import Gallery
from supcon.evaluation.knn import TIE

BLOCK = 2**26  # similarities that are in memory at once
TIES = 32  # neighbours beyond the k-th that may be as near as it, and vote then


class Near(NamedTuple):
    """What lies nearest to each of M queries, in falling order of cosines."""

    cosines: Tensor
    """(M, k) in [-1, 1]."""
    places: Tensor
    """(M, k) indices into the gallery."""

    def first(self, n: int) -> Near:
        """The n nearest of them."""
        return Near(self.cosines[:, :n], self.places[:, :n])

    def without(self, own: Tensor) -> Near:
        """The same without the images themselves, of which there are (M,) places: (M, k - 1)."""
        is_own = self.places == own[:, None]
        is_own[:, -1] |= ~is_own.any(1)  # lost among its equals: the last one goes
        rows = len(own), self.places.shape[1] - 1
        return Near(self.cosines[~is_own].reshape(rows), self.places[~is_own].reshape(rows))


class Search(Protocol):
    """Finds neighbours."""

    def __call__(self, queries: Tensor, k: int) -> Near:
        """The k nearest of the gallery to (M, D) embeddings by cosine; of fewer, all."""
        ...


class ExactSearch:
    """Compares with all: N D products a query."""

    def __init__(self, gallery: Gallery, device: torch.device) -> None:
        """`device` is where to compare."""
        embeddings = torch.from_numpy(np.asarray(gallery.embeddings))
        self.directions = F.normalize(embeddings.to(device).float(), dim=1)

    def __call__(self, queries: Tensor, k: int) -> Near:
        """Likewise."""
        bank = self.directions
        x, k = F.normalize(queries.to(bank).float(), dim=1), min(k, len(bank))
        blocks = x.split(max(1, BLOCK // max(1, len(bank))))
        found = [(block @ bank.T).topk(k, dim=1) for block in blocks]
        cosines = torch.cat([each.values for each in found])
        return Near(cosines.cpu(), torch.cat([each.indices for each in found]).cpu())


def vote(near: Near, labels: Tensor, *, classes: int, k: int, temperature: float) -> Tensor:
    """The weighted vote of `supcon.evaluation.knn`, of neighbours that were found.

    Args:
        near: of M queries, `TIES` more than k, where the gallery has so many.
        labels: (N,) class ids of the gallery.
        classes: number of classes K.
        k: so many vote, and all that are as near as the k-th.
        temperature: a neighbour votes with weight exp(cosine / temperature).

    Returns:
        (M, K); the nearest one votes with 1.
    """
    cosines = near.cosines
    kth = cosines[:, min(k, cosines.shape[1]) - 1, None]
    weights = ((cosines - cosines[:, :1]) / temperature).exp().masked_fill(cosines < kth - TIE, 0)
    return cosines.new_zeros(len(cosines), classes).scatter_add_(1, labels[near.places], weights)


def distance(near: Near, k: int) -> Tensor:
    """(M,) 1 - cosine to the k-th nearest, in [0, 2] (Sun et al. 2022, arXiv:2204.06507).

    NaN where the gallery is empty.
    """
    if near.cosines.shape[1] == 0:
        return near.cosines.new_full((len(near.cosines),), torch.nan)
    return 1 - near.cosines[:, min(k, near.cosines.shape[1]) - 1]
