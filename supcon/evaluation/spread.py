"""How features lie in space: how many directions they fill, where they are all equal, how close
those of a class are, and how its mean lies to the others'.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-7  # added to every share of the spectrum, as in RankMe for fp32
EQUAL = 1e-5  # of the largest value: the same image differs by less than that from batch to batch
BLOCK = 4096  # features that are taken to fp64 at once
TINY = 1e-300  # shorter than any fp32 feature but 0
MOST = 2048  # images whose pairs uniformity looks at; of 10,000 it is within 0.003 of that of all


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


def geometry_metrics(x: Tensor, labels: Tensor) -> dict[str, float]:
    """How close the features of a class are, and how classes lie to each other.

    Encoder features are looked at as they are, as the probe sees them; of projections give those of
    length 1, as the loss sees them.

    Args:
        x: (N, D) features, finite.
        labels: (N,) class ids.

    Returns:
        `alignment`, `uniformity`, `nc1`, `nc2_norms` and `nc2_angles`, see the functions below;
        without those that are not defined for these features.
    """
    found = {"alignment": alignment(x, labels), "uniformity": uniformity(x)}
    found |= neural_collapse(x, labels)
    values = torch.stack(list(found.values())).tolist()  # the device is waited for once
    return {name: v for name, v in zip(found, values, strict=True) if not math.isnan(v)}


def alignment(x: Tensor, labels: Tensor) -> Tensor:
    """How far apart images of a class are (Wang and Isola 2020, arXiv:2005.10242, alpha = 2).

    The paper's pairs are two views of an image; here an image, and another one of its class, both
    drawn at random. The mean over all of them is exact: it follows from the classes' means.

    Args:
        x: (N, D) features; they are brought to length 1.
        labels: (N,) class ids.

    Returns:
        The mean squared distance in fp64, from 0 (equal) to 4; 2 if they are orthogonal. nan: no
        class has 2 images.
    """
    n_K, _, variance_K = _moments(x, labels, unit=True)
    apart_K = 2 * variance_K * n_K / (n_K - 1)  # an image is not paired with itself
    return torch.where(n_K > 1, n_K * apart_K, 0).sum() / torch.where(n_K > 1, n_K, 0).sum()


def uniformity(x: Tensor) -> Tensor:
    """How evenly features fill the sphere (Wang and Isola 2020, arXiv:2005.10242, t = 2).

    The log of the mean of exp(-2 d^2) over all pairs of images, d their distance. Of more than
    2,048 images it is that of 2,048, always the same ones.

    Args:
        x: (N, D) features; they are brought to length 1.

    Returns:
        In fp64, from -8 to 0 (all equal); about -4 if most are orthogonal. Of K classes, each in
        one point and these orthogonal, about log(1/K + (1 - 1/K) e^-4). nan: there is one image.
    """
    if len(x) > MOST:
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MOST]
        x = x[chosen.sort().values.to(x.device)]
    x = _of_length_1(x).float()
    square_N = x.square().sum(1)  # 1, or 0
    near_NN = (4 * (x @ x.T) - 2 * (square_N + square_N[:, None])).exp()
    total = near_NN.sum(dtype=torch.float64) - near_NN.diagonal().sum(dtype=torch.float64)
    n_pairs = len(x) * (len(x) - 1)
    return (total / n_pairs).log().clamp(max=0) if n_pairs else total * torch.nan


def neural_collapse(x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """How near features are to the end of training (Papyan et al. 2020, arXiv:2008.08186).

    Each class counts the same, whatever its number of images; a class of a single one does not.
    Their global mean is that of the class means. The paper's NC1, tr(S_W S_B^+) / K, inverts a
    matrix of rank K - 1: its value hangs on directions in which classes hardly differ, and on which
    of them are cut off. The ratio of traces does not, and costs a pass over the features.

    Args:
        x: (N, D) features, taken as they are.
        labels: (N,) class ids.

    Returns:
        In fp64: `nc1`, tr(S_W) / tr(S_B), the variance within classes by that between them, >= 0;
        of few images a class it is too small. `nc2_norms`: standard deviation by mean of the
        distances of class means from the global mean, >= 0. `nc2_angles`: how far the cosines
        between these class means are from -1 / (K - 1), in the mean over all pairs of the K
        classes, 0 to 2. All are 0 if each class is a point and these are a regular simplex. nan:
        fewer than 2 classes count, or their means are equal to float precision.
    """
    n_K, mean_KD, variance_K = _moments(x, labels, unit=False)
    share_K = (n_K > 1).double() / (n_K > 1).sum()
    centred_KD = mean_KD - share_K @ mean_KD
    norm_K, direction_KD = centred_KD.norm(dim=1), F.normalize(centred_KD, dim=1, eps=TINY)
    between, norm = share_K @ norm_K.square(), share_K @ norm_K
    is_pair_KK = (n_K > 1) & (n_K > 1)[:, None] & ~torch.eye(len(n_K), device=x.device).bool()
    off_KK = direction_KD @ direction_KD.T + 1 / ((n_K > 1).sum() - 1)
    found = {
        "nc1": share_K @ variance_K / between,
        "nc2_norms": (share_K @ (norm_K - norm).square()).sqrt() / norm,
        "nc2_angles": torch.where(is_pair_KK, off_KK.abs(), 0).sum() / is_pair_KK.sum(),
    }
    size = share_K @ (variance_K + mean_KD.square().sum(1))
    is_defined = between > EQUAL**2 * size
    return {name: torch.where(is_defined, value, torch.nan) for name, value in found.items()}


class _Moments(NamedTuple):
    """Of K classes, by class id up to the largest, in fp64; all 0 of a class without images."""

    n_K: Tensor
    mean_KD: Tensor
    variance_K: Tensor
    """Mean squared distance from the mean."""


def _moments(x: Tensor, labels: Tensor, *, unit: bool) -> _Moments:
    """Sums by a product with ones and zeros: on a GPU index_add_ adds in any order."""
    n_K = labels.bincount().double()
    ids_K1 = torch.arange(len(n_K), device=x.device)[:, None]
    sum_KD = torch.zeros(len(n_K), x.shape[1], dtype=torch.float64, device=x.device)
    square_K = torch.zeros_like(n_K)
    for block, label in zip(x.split(BLOCK), labels.split(BLOCK), strict=True):
        is_of_KN = (ids_K1 == label).double()
        block_ND = _of_length_1(block) if unit else block.double()
        sum_KD += is_of_KN @ block_ND
        square_K += is_of_KN @ block_ND.square().sum(1)
    own_K = n_K.clamp(min=1)
    mean_KD = sum_KD / own_K[:, None]
    return _Moments(n_K, mean_KD, (square_K / own_K - mean_KD.square().sum(1)).clamp(min=0))


def _of_length_1(x: Tensor) -> Tensor:
    """In fp64; a feature of all zeros stays as it is."""
    return F.normalize(x.double(), dim=1, eps=TINY)
