"""Is `predict` as fast as what it cannot do without: decoding, and the bare forward pass?

    python -m tests.benchmarks.bundle.throughput MODEL FOLDER [--most N] [--rounds R]

Images a second of decoding alone (as many threads, the same blocks), of the bare forward pass of
what was decoded (the same batches), and of `predict` and `embed` whole, which write their files; in
one process, in turn, medians over rounds. Loading the model is timed by itself. CPU time, that of
all threads, tells something also on a machine that has other work. Both ratios are of rates: to
that of decoding and forward pass one after the other, and to that of the slower of the two.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from supcon.bundle.embeddings import ParquetWriter
from supcon.bundle.encoding import TorchEncoding
from supcon.bundle.model import Model, load
from supcon.bundle.predictions import Table, Tally, blocks_of
from supcon.evaluation.embedding import BATCH
from supcon.images.decoding import Pixels
from supcon.intake.inputs import Inputs
from supcon.network.device import seconds_of, send


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=4096, help="images (default: 4096)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    started = time.perf_counter()
    model = load(options.model, options.device)
    loading = time.perf_counter() - started
    paths = list(islice(Inputs([options.folder]), options.most))
    with tempfile.TemporaryDirectory() as folder:
        times = measured(model, paths, options.rounds, Path(folder))
    shape = model.manifest.preprocessing
    print(
        f"{len(paths):,} files as {shape.size} x {shape.size} on {where(model)}, "
        f"{torch.get_num_threads()} threads, gallery of {len(model.gallery):,}; "
        f"loading the model: {loading:.2f} s\n"
    )
    print("| | images a second | CPU, ms an image |\n|---|---|---|")
    for name, (seconds, cpu) in times.items():
        print(f"| {name} | {len(paths) / seconds:,.0f} | {1000 * cpu / len(paths):.3f} |")
    both, slower = (f(times[n][0] for n in ("decoding", "forward pass")) for f in (sum, max))
    cpu_both = times["decoding"][1] + times["forward pass"][1]
    for name in ("predict", "embed"):
        seconds, cpu = times[name]
        print(
            f"\n{name}: {both / seconds:.3f} of decoding and forward pass one after the other, "
            f"{slower / seconds:.3f} of the slower one; {cpu_both / cpu:.3f} by CPU time"
        )


def measured(
    model: Model, paths: list[Path], rounds: int, folder: Path
) -> dict[str, tuple[float, float]]:
    """Name -> median seconds, and of CPU time; of all paths."""
    blocks = [block.pixels for block in blocks_of(model, paths, Tally())]
    calls: dict[str, Callable[[], object]] = {
        "decoding": lambda: [None for _ in blocks_of(model, paths, Tally())],
        "forward pass": lambda: forward(model, blocks),
        "predict": lambda: predict(model, paths, folder / "predictions.csv"),
        "embed": lambda: embed(model, paths, folder / "embeddings.parquet"),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            cpu = time.process_time()
            seconds = seconds_of(call, encoding(model).device)
            if i:  # the first is no measurement
                found[name].append((seconds, time.process_time() - cpu))
    return {
        name: (statistics.median(s for s, _ in each), statistics.median(c for _, c in each))
        for name, each in found.items()
    }


def encoding(model: Model) -> TorchEncoding:
    """That of a bundle in torch."""
    assert isinstance(model.encode, TorchEncoding)
    return model.encode


@torch.no_grad()
def forward(model: Model, blocks: list[Pixels]) -> None:
    """The encoder and nothing else, on uint8 images that are in memory."""
    of = encoding(model)
    for block in blocks:
        for batch in torch.from_numpy(block).split(BATCH):
            with of.autocast():
                of.network.encoder(send(batch.permute(0, 3, 1, 2), of.device)).float().cpu()


def predict(model: Model, paths: list[Path], out: Path) -> None:
    """What the command does, and no more."""
    with out.open("w", encoding="utf-8", newline="") as file:
        tally = Tally()
        table = Table(file, model, model.check(None), 1, labelled=False)
        for block in blocks_of(model, paths, tally):
            table.add(block, tally)


def embed(model: Model, paths: list[Path], out: Path) -> None:
    """Likewise."""
    with ParquetWriter(out, model.gallery.embeddings.shape[1]) as writer:
        for block in blocks_of(model, paths, Tally()):
            names = [str(block.paths[i]) for i in block.places.tolist()]
            writer.add(names, model.encode(block.pixels).features.cpu().numpy())


def where(model: Model) -> str:
    """The device in words."""
    device = encoding(model).device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


if __name__ == "__main__":
    main()
