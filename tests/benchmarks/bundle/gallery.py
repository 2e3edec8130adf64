"""Searching galleries of several sizes, exactly and by an index: time, memory, recall.

    python -m tests.benchmarks.bundle.gallery --sizes 1000 100000 1000000 [--embeddings FILE.npz]

A row for each size and search, each measured in a process of its own: seconds until it can be
searched (for an index, building it), memory that this takes besides the gallery and at its peak,
milliseconds for a query alone and for each of 512 (medians), and which share of the 10 nearest, and
of as many as `predict` asks for, is found. The embeddings are those that `python -m supcon embed`
wrote (queries are drawn from them), or made: a centre for each 1,000 images, but at least 10 and at
most 1,000, and about each of them points that differ in 16 directions.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from supcon.bundle.index import IndexSearch, built
from supcon.bundle.nearest import TIES, ExactSearch, Search
from supcon.config import Config
from supcon.evaluation.knn import TIE
from tests.bundled import gallery_of

CPU = torch.device("cpu")
BATCH, ALONE, ROUNDS = 512, 50, 5
K = Config().probe.knn_k + TIES
KINDS = ("exact", "index")
HEADS = (
    *("images", "search", "ready, s", "memory, MB", "peak, MB"),
    *("alone, ms", "of 512, ms", "recall@10", f"recall@{K}", "lists"),
)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=512, help="of made embeddings (default: 512)")
    parser.add_argument("--embeddings", type=Path, help="an .npz of `python -m supcon embed`")
    options = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for size in options.sizes:
        for kind in KINDS:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as process:
                row = process.submit(measured, kind, size, options.dim, options.embeddings)
                print(f"| {' | '.join(row.result())} |", flush=True)


def measured(kind: str, size: int, dim: int, file: Path | None) -> list[str]:
    """A row of the table."""
    bank, queries = made(size, dim) if file is None else read(file, size)
    gallery = gallery_of(bank)
    before = resident()
    started = time.perf_counter()
    search: Search = ExactSearch(gallery, CPU)
    if kind == "index":
        del search
        index = built(gallery, K)
        search = IndexSearch(gallery, lambda: index, K)
    seconds = time.perf_counter() - started
    taken, peak = resident() - before, peak_resident() - before
    search(queries[:1], K)
    alone = [timed(lambda i=i: search(queries[i : i + 1], K)) for i in range(ALONE)]  # type: ignore[misc]
    together = [timed(lambda: search(queries, K)) for _ in range(ROUNDS)]
    exact, found = ExactSearch(gallery, CPU)(queries, K).cosines, search(queries, K).cosines
    return [
        *(f"{len(bank):,} x {bank.shape[1]}", kind, f"{seconds:.1f}"),
        *(f"{taken / 1e6:,.0f}", f"{peak / 1e6:,.0f}"),
        *(f"{1000 * statistics.median(alone):.2f}",),
        *(f"{1000 * statistics.median(together) / len(queries):.3f}",),
        *(f"{recall(found, exact, k):.4f}" for k in (10, K)),
        *(f"{index.nprobe} of {index.nlist}" if kind == "index" else "",),
    ]


def made(size: int, dim: int) -> tuple[Tensor, Tensor]:
    """A bank (size, dim) and queries (512, dim)."""
    generator = torch.Generator().manual_seed(0)
    n_centres = min(1000, max(10, size // 1000))
    centres = torch.randn(n_centres, dim, generator=generator)
    directions = torch.randn(16, dim, generator=generator) / 4
    n = size + BATCH
    x = centres[torch.randint(0, n_centres, (n,), generator=generator)]
    for block in x.split(2**16):
        block += torch.randn(len(block), 16, generator=generator) @ directions
    return x[:size], x[size:]


def read(file: Path, size: int) -> tuple[Tensor, Tensor]:
    """The same from a file, in another order."""
    with np.load(file, allow_pickle=False) as arrays:
        x = torch.from_numpy(arrays["embeddings"])
    assert len(x) >= size + BATCH, f"{file} holds {len(x)} embeddings, {size + BATCH} are needed"
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    return x[:size].clone(), x[size : size + BATCH].clone()


def recall(found: Tensor, exact: Tensor, k: int) -> float:
    """Share of the k nearest that are as near as the k-th of all."""
    return (found[:, :k] >= exact[:, k - 1, None] - TIE).float().mean().item()


def timed(call: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def resident() -> int:
    """Bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def peak_resident() -> int:
    """The most that it was so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
