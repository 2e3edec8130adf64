"""Contrastive losses with labels, and cross entropy.

`supcon_loss` is L_out of Khosla et al. 2020 (arXiv:2004.11362, eq. 2), `sincere_loss` the variant
without repulsion inside a class (Feeney and Hughes 2023, arXiv:2309.14277), `simclr_loss` the one
that does without labels (NT-Xent, Chen et al. 2020, arXiv:2002.05709, eq. 1). For soft labels, of
mixed views, `supcon_loss` is GenSCL (Kim et al. 2022, arXiv:2206.00384). All are pure
functions of embeddings and labels; they do not know about models or devices. Embeddings gathered
from several processes are theirs too, as long as the gather passes gradients on.

Notation: z_i embeddings of length 1, s_ij = z_i . z_j / temperature, A(i) all indices but i, P(i)
those of A(i) that share i's label; w_ij how much they share it, 1 or 0 for hard labels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def supcon_loss(
    z: Tensor, labels: Tensor, *, temperature: float, base_temperature: float | None = None
) -> Tensor:
    """Mean over anchors of `l_out`.

    Args:
        z: (N, D) embeddings of any length > 0; they are normalised here, in fp32.
        labels: (N,) class ids; the views of an image share theirs. Or (N, K) soft labels, rows of
            which sum to 1: each other view is a positive by the cosine of the two rows.
        temperature: softmax temperature, > 0.
        base_temperature: the loss is multiplied by temperature / base_temperature, which keeps the
            size of the gradient, and so the learning rate that fits, independent of the
            temperature; None: no scaling, the paper's equation as it stands.

    Returns:
        Scalar loss in fp32 (fp64 for fp64 input). Anchors without a positive do not count; if no
        anchor has one, the loss is 0 with zero gradient.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _mean_over_anchors(l_out, z, labels, temperature, base_temperature)


def sincere_loss(
    z: Tensor, labels: Tensor, *, temperature: float, base_temperature: float | None = None
) -> Tensor:
    """Mean over anchors of `l_sincere`; arguments, result and errors as in `supcon_loss`, but there
    is no form for soft labels.
    """
    if _are_soft(labels):
        raise ValueError(f"labels must be (N,) class ids, got {tuple(labels.shape)}")
    return _mean_over_anchors(l_sincere, z, labels, temperature, base_temperature)


def simclr_loss(
    z: Tensor,
    labels: Tensor,
    *,
    views: int,
    temperature: float,
    base_temperature: float | None = None,
) -> Tensor:
    """SupCon where only the other views of the same image are positives.

    Args:
        z: (views * B, D) embeddings, view after view: rows i and i + B show the same image.
        labels: (views * B,), only their number is looked at.
        views: views of each image, at least 2.
        temperature: as in `supcon_loss`.
        base_temperature: as in `supcon_loss`.

    Returns:
        Scalar loss, as in `supcon_loss`.

    Raises:
        ValueError: the shapes do not fit, or the rows are no whole number of views.
    """
    image_ids = torch.arange(len(labels) // views, device=labels.device).repeat(views)
    return supcon_loss(z, image_ids, temperature=temperature, base_temperature=base_temperature)


def l_out(sim_NN: Tensor, positive_NN: Tensor) -> Tensor:
    """L_i = -1/|P(i)| sum_{p in P(i)} [ s_ip - log sum_{a in A(i)} exp s_ia ].

    With weights in place of P(i), the cross entropy of s_i's softmax to w_i / sum_j w_ij.

    Args:
        sim_NN: (N, N) similarities s_ij.
        positive_NN: (N, N) bool, whether j is in P(i); or its weight w_ij >= 0, 0 for j = i.

    Returns:
        (N,) losses; 0 for an anchor without a positive.
    """
    # The pair of an anchor with itself is masked before the log-sum-exp, not subtracted after it:
    # its similarity is the largest, and small temperatures would underflow all others.
    others_NN = sim_NN.masked_fill(_is_self(sim_NN), -torch.inf)
    return _mean_over_positives(others_NN.logsumexp(1, keepdim=True) - sim_NN, positive_NN)


def l_sincere(sim_NN: Tensor, positive_NN: Tensor) -> Tensor:
    """L_i = -1/|P(i)| sum_{p in P(i)} [ s_ip - log( exp s_ip + sum_{n not in P(i)} exp s_in ) ].

    Arguments and result as in `l_out`. An anchor's other positives are not among its denominators,
    so images of a class do not repel each other.
    """
    negative_NN = sim_NN.masked_fill(positive_NN | _is_self(sim_NN), -torch.inf)
    return _mean_over_positives(
        F.softplus(negative_NN.logsumexp(1, keepdim=True) - sim_NN), positive_NN
    )


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    adjustment: Tensor | None = None,
) -> Tensor:
    """Mean cross entropy in fp32 (fp64 for fp64 input).

    Args:
        logits: (N, K).
        labels: (N,) class ids, or (N, K) soft labels, rows of which sum to 1.
        label_smoothing: weight of the uniform distribution over all K classes (arXiv:1512.00567),
            in [0, 1).
        adjustment: (K,) added to each row of logits, tau * log prior (Menon et al. 2021,
            arXiv:2007.07314, eq. 10); None: nothing.

    Returns:
        Scalar loss.
    """
    logits = _in_fp32(logits) if adjustment is None else _in_fp32(logits) + adjustment
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _mean_over_anchors(
    loss_of_anchors: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    labels: Tensor,
    temperature: float,
    base_temperature: float | None,
) -> Tensor:
    if z.ndim != 2 or not (labels.ndim == 1 or _are_soft(labels)) or len(labels) != len(z):
        raise ValueError(
            f"z must be (N, D) and labels (N,) or (N, K), got {tuple(z.shape)} and "
            f"{tuple(labels.shape)}"
        )
    # fp32, whatever the caller's autocast: bf16 products lose 1 % of the gradient.
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(_in_fp32(z), dim=1)
        sim_NN = z @ z.T / temperature
        positive_NN = _same_label(labels).masked_fill(_is_self(sim_NN), False)
    n_anchors = positive_NN.any(1).sum().clamp(min=1)
    scale = 1.0 if base_temperature is None else temperature / base_temperature
    return scale * loss_of_anchors(sim_NN, positive_NN).sum() / n_anchors


def _are_soft(labels: Tensor) -> bool:
    return labels.ndim == 2 and labels.is_floating_point()


def _same_label(labels: Tensor) -> Tensor:
    """(N, N) whether two labels are the same; of soft ones the cosine of their rows."""
    if labels.ndim == 1:
        return labels[:, None] == labels[None, :]
    unit = F.normalize(labels, dim=1)
    return unit @ unit.T


def _in_fp32(outputs: Tensor) -> Tensor:
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def _mean_over_positives(loss_NN: Tensor, positive_NN: Tensor) -> Tensor:
    if positive_NN.dtype == torch.bool:
        return loss_NN.masked_fill(~positive_NN, 0).sum(1) / positive_NN.sum(1).clamp(min=1)
    weight = positive_NN.sum(1)
    return (loss_NN * positive_NN).sum(1) / weight.where(weight > 0, 1)


def _is_self(sim_NN: Tensor) -> Tensor:
    return torch.eye(len(sim_NN), dtype=torch.bool, device=sim_NN.device)
