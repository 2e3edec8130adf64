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
GAP = 1e-9  # twice the loss that a step promises to gain: what is left is below 1e-6 of tests
ROUNDING = 4e-14  # of that for each weight, at most, is noise in fp32 (a third of it measured)
LONGEST = 4.0  # of a step, where 1 is what the curvature so far asks for


def minimise(x: Tensor, labels: Tensor, penalty: Tensor, start: Tensor, max_iter: int) -> Tensor:
    """Minimise mean cross entropy + sum_d penalty_d / 2 |theta_d|^2 over theta (K, D).

    Args:
        x: (N, D) features that do not correlate, as along their principal axes; fp32 is enough.
        labels: (N,) class ids.
        penalty: (D,), at least 0.
        start: (K, D) first weights.
        max_iter: iterations at most.

    Returns:
        (K, D) weights, in the precision of `x`.
    """
    n, variance, enough = len(x), x.square().mean(0), max(GAP, ROUNDING * start.numel())
    # Classes come first, (K, N): of 10, softmax takes an eighth of the time on a CPU.
    theta, logits = start, start @ x.T
    is_label = torch.zeros_like(logits).scatter_(0, labels[None], 1)
    p, old, steps, changes = logits.softmax(0), theta, list[Tensor](), list[Tensor]()
    for i in range(max_iter):
        gradient = torch.addmm(penalty * theta, p - is_label, x, alpha=1 / n)
        if steps:
            changes = [*changes[1 - HISTORY :], gradient - old]
        old = gradient
        if i % CHECK_EVERY == 0:
            # The Hessian's diagonal, if features knew nothing of probabilities.
            spread_K = (p - p.square()).mean(1)
            inverse = 1 / (spread_K[:, None] * variance + penalty).clamp(min=1e-12)
        step = -_times_inverse_hessian(gradient, inverse, steps, changes)
        step = step - step.mean(0)  # what is added to all classes changes no logit's lead
        slope = _dot(gradient, step)
        if i % CHECK_EVERY == 0 and -slope.item() < enough:
            break
        along = step @ x.T  # how it changes the logits
        # Where the slope would be 0 if it changed evenly; a second look saves no iterations.
        bend = _dot((logits + along).softmax(0).sub_(p), along) / n + _dot(penalty * step, step)
        length = (-slope / bend.clamp(min=1e-30)).clamp(0, LONGEST)
        steps = [*steps[1 - HISTORY :], length * step]
        theta = theta + steps[-1]
        logits.addcmul_(length, along)
        p = logits.softmax(0)
    return theta


def _times_inverse_hessian(
    gradient: Tensor, inverse: Tensor, steps: list[Tensor], changes: list[Tensor]
) -> Tensor:
    """L-BFGS in its compact form (Byrd, Nocedal and Schnabel 1994, eq. 2.6): no loop over steps.

    Args:
        gradient: (K, D).
        inverse: (K, D) first guess of the inverse Hessian's diagonal.
        steps: m of them, (K, D) each; a step that changed nothing that is known does not count.
        changes: of the gradient by each of them.
    """
    m, first = len(steps), inverse * gradient
    if m == 0:
        return first
    y = torch.stack([*changes, gradient])
    left = torch.cat([torch.stack(steps), y[:m] * inverse]).flatten(1)  # S, H Y of the paper
    products = (left @ y.flatten(1).T).double()  # (2m, m + 1)
    known = products.diagonal()[:m] > 0  # else rounding is all that it did
    products = products * known.repeat(2)[:, None] * F.pad(known, (0, 1), value=True)
    (sy, sg), (yhy, yhg) = (part.split([m, 1], 1) for part in products.split(m))
    r = sy.triu() + torch.diag(~known)
    u = torch.linalg.solve_triangular(r, sg, upper=True)
    v = torch.linalg.solve_triangular(r.T, sy.diagonal()[:, None] * u + yhy @ u - yhg, upper=False)
    return first + (torch.cat([v, -u]).T.to(left) @ left).view_as(first)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())
