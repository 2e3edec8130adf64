"""The probe against the one that it replaced: seconds, waits, calls, the loss that is reached.

    python -m tests.benchmarks.evaluation.probe  # half an hour on 2 CPU cores
    python -m tests.benchmarks.evaluation.probe --sizes 4000x512x10 --threads 1

Before: torch's L-BFGS with a strong Wolfe line search in fp64 on whitened features, 100 iterations
a penalty. Both run in turn in one process on the same features, noise around class centres after a
ReLU; figures are medians. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from supcon.config import ProbeConfig
from supcon.evaluation.probe import LinearProbe, logistic_regressions
from tests.waiting import Calls

PENALTIES = tuple(sorted(ProbeConfig().l2, reverse=True))
MAX_ITER = ProbeConfig().max_iter
SIZES = ("4000x512x10", "45000x512x10", "45000x512x100", "45000x2048x100")
Solver = Callable[[Tensor, Tensor, int], list[LinearProbe]]


def main() -> None:
    """Time both at each size, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.evaluation.probe")
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="images x features x classes")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        n, d, k = map(int, size.split("x"))
        x, y = (part.to(options.device) for part in features(n, d, k))
        for threads in options.threads:
            torch.set_num_threads(threads)
            rows.append({"size": size, "threads": threads} | compare(x, y, k, options.repeats))
            print(rows[-1], flush=True)
    print(json.dumps(rows))


def features(n: int, d: int, k: int) -> tuple[Tensor, Tensor]:
    """Centres and noise in 128 directions of a decaying spectrum, through a random ReLU layer."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    decay = torch.arange(1, 129) ** -0.7
    y = torch.randint(0, k, (n,), generator=generator)
    z = (0.3 * noise(k, 128)[y] + noise(n, 128)) * decay
    return F.relu(z @ noise(128, d) * 0.3 + 0.3 * noise(d) + 0.05 * noise(n, d)), y


def compare(x: Tensor, y: Tensor, classes: int, repeats: int) -> dict[str, object]:
    """Seconds of both in turn, and once each waits, calls and the sum of the penalties' losses."""
    solvers: dict[str, Solver] = {"before": by_torch, "after": ours}
    found: dict[str, object] = {}
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(repeats):
        for name, solve in solvers.items():
            started = time.perf_counter()
            probes = solve(x, y, classes)
            probes[-1].bias.sum().item()  # waits for a GPU
            seconds[name].append(time.perf_counter() - started)
            loss = sum(map(losses(x, y), probes, PENALTIES))
            found[f"loss_{name}"] = round(loss, 7)
    for name, solve in solvers.items():
        with Calls() as counted:
            solve(x, y, classes)
        found[f"waits_{name}"], found[f"calls_{name}"] = counted.waits, counted.made.total()
        found[f"seconds_{name}"] = round(statistics.median(seconds[name]), 2)
    return found


def ours(x: Tensor, y: Tensor, classes: int) -> list[LinearProbe]:
    """The probe as it is."""
    return logistic_regressions(x, y, classes=classes, penalties=PENALTIES, max_iter=MAX_ITER)


def losses(x: Tensor, y: Tensor) -> Callable[[LinearProbe, float], float]:
    """What a probe minimised, on the features that it was trained on."""

    def loss(probe: LinearProbe, l2: float) -> float:
        loss = F.cross_entropy(probe.logits(x), y) + l2 / 2 * probe.weight.square().sum()
        return loss.item()

    return loss


def by_torch(x: Tensor, y: Tensor, classes: int) -> list[LinearProbe]:
    """The probe as it was."""
    mean, std = x.double().mean(0), x.double().std(0).clamp(min=1e-6)
    z = (x.double() - mean) / std
    variance, axes = torch.linalg.eigh(z.T @ z / len(z))
    z = F.pad(z @ axes, (0, 1), value=1)
    curvature = F.pad(variance.clamp(min=0), (0, 1), value=1) * (classes - 1) / classes**2
    weights = torch.zeros(classes, z.shape[1], dtype=z.dtype, device=z.device)
    probes = []
    for l2 in PENALTIES:
        penalty = torch.full_like(curvature, l2)
        penalty[-1] = 0
        scale = (curvature + penalty).rsqrt()
        weights = scale * _lbfgs(z * scale, y, penalty * scale**2, weights / scale)
        probes.append(LinearProbe(mean, std, weights[:, :-1] @ axes.T, weights[:, -1], f"{l2:g}"))
    return probes


def _lbfgs(x: Tensor, y: Tensor, penalty: Tensor, start: Tensor) -> Tensor:
    theta, is_label = start.clone(), F.one_hot(y, len(start)).to(x.dtype)
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=MAX_ITER, tolerance_grad=1e-5, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        log_p = (x @ theta.T).log_softmax(1)
        theta.grad = (log_p.exp() - is_label).T @ x / len(x) + penalty * theta
        return -(log_p * is_label).sum(1).mean() + (penalty * theta.square()).sum() / 2

    optimizer.step(closure)
    return theta


if __name__ == "__main__":
    main()
