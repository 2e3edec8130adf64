"""How often the images of a study lie in memory while 8 of its trials train at once.

    python -m tests.benchmarks.memory            # five minutes on 2 CPU cores
    python -m tests.benchmarks.memory --quick    # 2 trials, two minutes: only that it runs

Read from /proc/<pid>/smaps of all processes of a real search, once every trial has trained and
been evaluated. The store of Ray is counted by its proportional set size (PSS: of a page that n
processes map, each has 1/n), over all processes; it should be the images, once. A second search, on
fewer images, tells what of the private memory grows with them, as a hidden copy would. The
private memory of a process is its smallest of several samples: batches and evaluation come and go.
What is trained does not matter here, so it is the cheapest there is. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.search import RunningSearch, running_search

IMAGE_SIZE = 64
BATCH_SIZE = 32
LARGE, QUICK = 12_800, 5_120  # images
SMALL = 1_280  # enough to fill each batch that evaluation makes: their memory is no copy
VAL_SIZE = 0.45
CLASSES = 10
EPOCHS = 1000  # until it is interrupted
SAMPLES = 12
STORE = "/dev/shm/plasma"
# glibc gives freed memory back at once; else a process keeps up to 200 MB, by chance, for later.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
MB = 1e6


@dataclass(frozen=True)
class Memory:
    """Bytes of a process."""

    is_training: bool
    store: float
    """PSS of the object store."""
    private: float
    """What no other process maps, without the object store."""


@dataclass(frozen=True)
class Measured:
    """Bytes of a search."""

    images: float
    """All of train and val."""
    store: float
    """PSS of the object store in all processes together."""
    driver: float
    """Private memory of the process that was started."""
    trials: tuple[float, ...]
    """Private memory of each process that trains."""


def main() -> None:
    """Run, print a table and a line of JSON."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    trials, n_images = (2, QUICK) if options.quick else (8, LARGE)
    print(
        f"{trials} trials at once, {os.cpu_count()} cores, {n_images} and {SMALL} images of "
        f"{IMAGE_SIZE} pixels; Python {platform.python_version()}",
        flush=True,
    )
    large, small = measure(trials, n_images), measure(trials, SMALL)
    _print_table(large, small)
    print(json.dumps(_summary(large, small)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory")
    parser.add_argument("--quick", action="store_true", help="2 trials, fewer images")
    return parser.parse_args()


def measure(trials: int, n_images: int) -> Measured:
    """Start a search with so many trials at once on so many images, look at it, and end it."""
    with tempfile.TemporaryDirectory(prefix="ss-images-") as root:
        _write_images(Path(root), n_images)
        flags = ["--concurrency", str(trials), "--cpus-per-trial", "0.25", "--gpus-per-trial", "0"]
        flags += ["--set", "data.pipeline=resident"]
        with running_search(_space(root, trials), *flags, environment=MALLOC) as running:
            running.wait_for(lambda: _n_evaluated(running) >= trials)
            if running.process.poll() is not None:
                running.fail()
            samples = [_sample(running) for _ in range(SAMPLES)]
            os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does: to the whole group
            with suppress(subprocess.TimeoutExpired):  # if so, it is killed
                running.process.wait(timeout=120)
    measured = _measured(samples, running.process.pid, n_images * IMAGE_SIZE**2 * 3)
    if len(measured.trials) != trials:
        raise SystemExit(f"{trials} processes should train, but {len(measured.trials)} did")
    return measured


def _write_images(root: Path, n_images: int) -> None:
    """Noise, uncompressed: as many images to train on, of which a search takes some as val."""
    rng = np.random.default_rng(0)
    for part, count in (("train", n_images), ("test", CLASSES)):
        for i in range(count):
            folder = root / part / f"class-{i % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.bmp")


def _space(root: str, trials: int) -> dict[str, Any]:
    """One view of each image, as it is; evaluated after every epoch; no trial is stopped."""
    data = {"name": "folder", "root": root, "image_size": IMAGE_SIZE, "val_size": VAL_SIZE}
    return {
        "base": {
            "data": {**data, "batch_size": BATCH_SIZE},
            "loss": {"name": "ce"},
            "augment": {"views": 1, "strength": 0.0},
            "model": {"backbone": "test_resnet", "stem": "full"},
            "average": {"bn_images": 256},
            "probe": {"l2": [0.01], "max_iter": 10},
            "run": {"epochs": EPOCHS, "eval_every": 1, "precision": "fp32"},
        },
        "params": {"optim.lr_per_256": {"loguniform": [0.05, 0.2]}},
        "arms": {"ce": {"loss.name": "ce"}},
        "budget": {"trials": trials},
        "scheduler": {"asha": {"grace": EPOCHS}},
    }


def _n_evaluated(running: RunningSearch) -> int:
    """Trials that have reported their first epoch."""
    return running.log.read_text().count('"epoch":1,') if running.log.exists() else 0


def _sample(running: RunningSearch) -> dict[int, Memory]:
    """The memory of each process of a search, a second after the last time."""
    time.sleep(1)
    found = {}
    for pid in running.pids():
        with suppress(OSError):  # it has ended
            process = Path(f"/proc/{pid}")
            is_training = "Trainable" in (process / "cmdline").read_text()  # how Ray names workers
            found[pid] = _memory((process / "smaps").read_text(), is_training)
    return found


def _memory(smaps: str, is_training: bool) -> Memory:
    """What the kernel says about the mappings of a process: a line on each, and lines in kB."""
    store, private, is_store = 0, 0, False
    for line in smaps.splitlines():
        key, *values = line.split()
        if not key.endswith(":"):
            is_store = STORE in line
        elif is_store and key == "Pss:":
            store += int(values[0])
        elif not is_store and key in ("Private_Clean:", "Private_Dirty:"):
            private += int(values[0])
    return Memory(is_training, 1024 * store, 1024 * private)


def _measured(samples: list[dict[int, Memory]], driver: int, images: int) -> Measured:
    """The median of the store, and the smallest private memory of each process."""
    training = [pid for pid, memory in samples[0].items() if memory.is_training]
    lowest = {pid: min(s[pid].private for s in samples) for pid in (driver, *training)}
    return Measured(
        images=images,
        store=statistics.median(sum(m.store for m in sample.values()) for sample in samples),
        driver=lowest[driver],
        trials=tuple(lowest[pid] for pid in training),
    )


def _summary(large: Measured, small: Measured) -> dict[str, Any]:
    more = large.images - small.images
    grown = statistics.mean(large.trials) - statistics.mean(small.trials)
    return {
        "trials": len(large.trials),
        "data_mb": large.images / MB,
        "store_pss_mb": large.store / MB,
        "copies": large.store / large.images,
        "private_copies_per_trial": grown / more,
        "private_copies_driver": (large.driver - small.driver) / more,
        "private_mb_per_trial": [[mb / MB for mb in m.trials] for m in (large, small)],
    }


def _print_table(large: Measured, small: Measured) -> None:
    print(f"\n{'MB':36s}{'large':>10s}{'small':>10s}{'copies':>10s}")
    print(f"{'images, train and val':36s}{large.images / MB:10.1f}{small.images / MB:10.1f}")
    store = f"{large.store / MB:10.1f}{small.store / MB:10.1f}{large.store / large.images:10.3f}"
    print(f"{'object store, PSS of all processes':36s}{store}")
    more = large.images - small.images
    a, b = large.driver, small.driver
    print(f"{'private, the driver':36s}{a / MB:10.1f}{b / MB:10.1f}{(a - b) / more:10.3f}")
    a, b = (statistics.mean(measured.trials) for measured in (large, small))
    print(f"{'private, a trial (mean)':36s}{a / MB:10.1f}{b / MB:10.1f}{(a - b) / more:10.3f}")
    print()


if __name__ == "__main__":
    main()
