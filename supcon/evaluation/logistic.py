"""Multinomial logistic regression on cached features, by an L-BFGS that rarely waits for a GPU.

Logits are linear in the weights. So along a step's direction they are known after one matrix
product, and its length is found on them alone: an iteration costs two products with the features
(torch's own L-BFGS: two for each length that it tries), and the host reads nothing of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHECK_EVERY = 4  # iterations; the host waits for the device only then
HISTORY = 10  # steps that are remembered
TOLERANCE = 1e-9  # of the gradient's square over the curvature: twice the loss to be gained
LONGEST = 4.0  # of a step, where 1 is what the curvature so far asks for


def minimise(x: Tensor, labels: Tensor, penalty: Tensor, start: Tensor, max_iter: int) -> Tensor:
    """Minimise mean cross entropy + sum_d penalty_d / 2 |theta_d|^2 over theta (K, D).

    fp32 is enough: the sums over N of what is rounded at random leave 1e-9 of the gradient.

    Args:
        x: (N, D) features that do not correlate, as along their principal axes.
        labels: (N,) class ids.
        penalty: (D,), at least 0.
        start: (K, D) first weights.
        max_iter: iterations at most.

    Returns:
        (K, D) weights, in the precision of `x`.
    """
    theta, logits = start, x @ start.T
    is_label, variance = F.one_hot(labels, len(start)).to(x.dtype), x.square().mean(0)
    steps: list[Tensor] = []
    changes: list[Tensor] = []  # of the gradient, by each of them
    p, old = logits.softmax(1), theta
    for i in range(max_iter):
        gradient = (p - is_label).T @ x / len(x) + penalty * theta
        if steps:
            changes = [*changes[1 - HISTORY :], gradient - old]
        old = gradient
        # The Hessian's diagonal, if features knew nothing of probabilities.
        spread_K = (p - p.square()).mean(0)
        inverse = 1 / (spread_K[:, None] * variance + penalty).clamp(min=1e-12)
        if i % CHECK_EVERY == 0 and (gradient.square() * inverse).sum().item() < TOLERANCE:
            break
        step = -_times_inverse_hessian(gradient, inverse, steps, changes)
        along = x @ step.T  # how it changes the logits
        # Where the slope would be 0 if it changed evenly: two steps of other lengths save nothing.
        slope = (gradient * step).sum()
        bend = (((logits + along).softmax(1) - p) * along).sum() / len(x)
        bend = bend + (penalty * step.square()).sum()
        length = (-slope / bend.clamp(min=1e-30)).clamp(0, LONGEST)
        steps = [*steps[1 - HISTORY :], length * step]
        theta, logits = theta + length * step, logits + length * along
        p = logits.softmax(1)
    return theta


def _times_inverse_hessian(
    gradient: Tensor, inverse: Tensor, steps: list[Tensor], changes: list[Tensor]
) -> Tensor:
    """L-BFGS in its compact form (Byrd, Nocedal and Schnabel 1994, eq. 2.6): no loop over steps.

    Args:
        gradient: (K, D).
        inverse: (K, D) first guess of the inverse Hessian's diagonal.
        steps: m of them, (K, D) each.
        changes: of the gradient by each of them.
    """
    first = inverse * gradient
    if not steps:
        return first
    s, y = torch.stack(steps).flatten(1), torch.stack(changes).flatten(1)  # (m, K D)
    known = (s * y).sum(1) > 0  # else rounding is all that is left of a step
    s, y = s * known[:, None], y * known[:, None]
    hy = y * inverse.flatten()
    r = (s @ y.T).double().triu() + torch.diag(~known)  # (m, m)
    u = torch.linalg.solve_triangular(r, (s @ gradient.flatten()).double()[:, None], upper=True)
    inner = r.diagonal()[:, None] * u + (hy @ y.T).double() @ u
    inner = inner - (hy @ gradient.flatten()).double()[:, None]
    v = torch.linalg.solve_triangular(r.T, inner, upper=False)
    return first + (v.T.to(s) @ s - u.T.to(s) @ hy).view_as(first)
