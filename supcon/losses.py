"""Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, eq. 2, L_out).

A pure function of embeddings and labels. It does not know about views, models or devices.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def supcon_loss(
    z: Tensor, labels: Tensor, *, temperature: float, base_temperature: float | None = None
) -> Tensor:
    """Mean over anchors of the negative mean log-probability of their positives.

    With s_ij = z_i . z_j / temperature, A(i) all indices but i, and P(i) those of A(i) that share
    i's label:
    L_i = -1/|P(i)| sum_{p in P(i)} [ s_ip - log sum_{a in A(i)} exp s_ia ].

    Args:
        z: (N, D) embeddings, unit length.
        labels: (N,) class ids; the views of an image share theirs.
        temperature: softmax temperature, > 0.
        base_temperature: the loss is multiplied by temperature / base_temperature, which keeps the
            size of the gradient, and so the learning rate that fits, independent of the
            temperature; None: no scaling, the paper's equation as it stands.

    Returns:
        Scalar loss in fp32 (fp64 for fp64 input). Anchors without a positive do not count; if no
        anchor has one, the loss is 0 with zero gradient.
    """
    z = z if z.dtype == torch.float64 else z.float()  # bf16 products lose 1 % of the gradient
    self_NN = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive_NN = (labels[:, None] == labels[None, :]) & ~self_NN
    n_positives = positive_NN.sum(1)

    # The pair of an anchor with itself is masked before the log-sum-exp, not subtracted after it:
    # its similarity is the largest, and small temperatures would underflow all others.
    sim_NN = (z @ z.T / temperature).masked_fill(self_NN, -torch.inf)
    log_prob_NN = sim_NN - sim_NN.logsumexp(1, keepdim=True)
    loss_N = -log_prob_NN.masked_fill(~positive_NN, 0).sum(1) / n_positives.clamp(min=1)

    scale = 1.0 if base_temperature is None else temperature / base_temperature
    n_anchors = (n_positives > 0).sum().clamp(min=1)
    return scale * loss_N.sum() / n_anchors


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy in fp32.

    Args:
        logits: (N, K).
        labels: (N,) class ids.
        label_smoothing: weight of the uniform distribution over all K classes (arXiv:1512.00567).
    """
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
