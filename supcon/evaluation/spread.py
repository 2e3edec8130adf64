"""How far features spread: how many directions they fill, and where they are all equal."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-7  # added to every share of the spectrum, as in RankMe for fp32
EQUAL = 1e-5  # of the largest value: the same image differs by less than that from batch to batch
BLOCK = 4096  # features that are taken to fp64 at once


def spread_metrics(x: Tensor, labels: Tensor) -> dict[str, float]:
    """Whether features have collapsed, and how far.

    Args:
        x: (N, D) features, finite.
        labels: (N,) class ids.

    Returns:
        `effective_rank` from 1 to min(N, D), see there; `collapsed`, 1 if the features of all
        images are equal to float precision, else 0; `collapsed_classes`, how many classes with at
        least 2 images have features that are all equal, each class its own.
    """
    return {
        "effective_rank": effective_rank(x),
        "collapsed": float(bool(are_equal(x, torch.zeros_like(labels)))),
        "collapsed_classes": float(are_equal(x, labels).sum()),
    }


def effective_rank(x: Tensor) -> float:
    """RankMe (Garrido et al. 2023, arXiv:2210.02885, eq. 2): how many directions features fill.

    exp of the entropy of p, p_k = s_k / sum(s) + 1e-7, with the singular values s of the features
    as they are: not centred, not normalised. They come from the smaller Gram matrix in fp64, which
    squares the condition, but not below what fp32 features tell: within 1e-4 of the SVD; in fp32
    it would be some percent off.

    Args:
        x: (N, D) features, finite, N and D at least 1.

    Returns:
        From 1 (all lie on a line through 0; also if all are 0) to min(N, D) (orthogonal and equally
        long). The 1e-7 adds up to 1.6e-6 min(N, D) of it: of 2,048 equal features it is 1.003.

    Raises:
        ValueError: it is no matrix, or an empty one.
    """
    if x.ndim != 2 or x.numel() == 0:
        raise ValueError(f"features must be (N, D), both at least 1, got {tuple(x.shape)}")
    x = x if len(x) >= x.shape[1] else x.T
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=x.device)
    for block in x.split(BLOCK):
        gram += block.T.double() @ block.double()
    s = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    p = s / s.sum().clamp(min=torch.finfo(s.dtype).tiny) + EPSILON
    return max(1.0, (-(p * p.log()).sum()).exp().item())


def are_equal(x: Tensor, labels: Tensor) -> Tensor:
    """Which classes have features that are all equal to float precision.

    Args:
        x: (N, D) features.
        labels: (N,) class ids.

    Returns:
        (K,) bool by class id up to the largest; False for a class of fewer than 2 images. Equal is
        what differs in no dimension by more than 1e-5 of the largest value of all features.
    """
    counts = labels.bincount()
    where = labels[:, None].expand_as(x)
    low, high = (
        torch.zeros(len(counts), x.shape[1], dtype=x.dtype, device=x.device).scatter_reduce(
            0, where, x, reduce, include_self=False
        )
        for reduce in ("amin", "amax")
    )
    return ((high - low).amax(1) <= EQUAL * x.abs().max()) & (counts > 1)
