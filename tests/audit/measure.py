"""How fast an audit is, and what it finds of copies that were planted, in a folder of images.

    python -m tests.audit.measure ~/data/cifar10-jpeg           # two minutes on 2 CPU cores
    python -m tests.audit.measure ~/data/cifar10-jpeg --quick   # an eighth of it: that it runs

First all files are audited as they are, in one and in two processes, half of them and all, each
with an empty cache, and once with a full one. Then a tenth of the test images are replaced by
copies of training images, 5 of them under another label, and a hundredth by changed copies
(`tests/audit/planted.py`): missed are those without a twin in the audit that follows; falsely named
are those that have one there, had none before, and were not planted. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from supcon.audit.audit import ImageAudit, Part, audit
from supcon.config import DataConfig
from supcon.images.sources import find_images, part_of
from tests.audit.planted import missed, plant


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=32, help="side in pixels")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    config = DataConfig(name="folder", root=options.folder, image_size=options.size)
    listing = find_images(config)
    parts = []
    for name in ("train", "test"):
        split = part_of(listing, name, config)
        some = split.take(np.arange(0, len(split), 8 if options.quick else 1))
        parts.append(Part(name, some.images, some.labels))
    print(
        platform.processor() or platform.machine(), f"{os.cpu_count()} cores, numpy", np.__version__
    )
    speeds, whole = measure(parts)
    found = planted(parts, len(listing.classes), whole)
    print(json.dumps({"speeds": speeds, **found}))


def half(part: Part) -> Part:
    some = np.arange(0, len(part.labels), 2)
    return Part(part.name, part.images[some] if isinstance(part.images, np.ndarray)
                else part.images.take(some), part.labels[some])  # fmt: skip


def measure(parts: list[Part]) -> tuple[list[dict[str, Any]], ImageAudit]:
    rows = []
    for what, chosen, workers, is_new in (
        ("half, 1 process", [half(part) for part in parts], 0, True),
        ("all, 1 process", parts, 0, True),
        ("half, 2 processes", [half(part) for part in parts], 2, True),
        ("all, 2 processes", parts, 2, True),
        ("all, marked before", parts, 0, False),
    ):
        if is_new:
            os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
        started, before = time.perf_counter(), sum(os.times()[:4])
        found = audit(chosen, workers)
        seconds, spent = time.perf_counter() - started, sum(os.times()[:4]) - before
        n = sum(len(part.labels) for part in chosen)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = {
            "what": what,
            "images": n,
            "seconds": round(seconds, 2),
            "images_per_second": round(n / seconds),
            "cpu_seconds": round(spent, 2),
            "peak_mib": round(peak),
        }
        rows.append(row)
        print(
            f"{what:20s} {n:8,d} images  {seconds:6.2f} s  {n / seconds:8,.0f}/s  "
            f"{spent:6.2f} CPU seconds  peak {peak:.0f} MiB"
        )
    return rows, found


def planted(parts: list[Part], classes: int, before: ImageAudit) -> dict[str, Any]:
    train, test = parts
    planted = plant(train, test, classes)
    after = audit([train, planted.test])
    has_twin = after.has_twin["test", "train"]
    places = np.concatenate([planted.equal, *planted.near.values()])
    is_new = has_twin & ~before.has_twin["test", "train"]
    is_new[places] = False
    kinds = {"equal": planted.equal, **planted.near}
    lost = missed(planted, after)
    (twins,) = [each for each in after.twins if (each.part, each.of) == ("test", "train")]
    found = {
        "test_images": len(test.labels),
        "had_twin_before": int(before.has_twin["test", "train"].sum()),
        "planted": {kind: len(place) for kind, place in kinds.items()},
        "missed": lost,
        "falsely_named": int(is_new.sum()),
        "other_label": twins.other_label,
    }
    for kind, place in kinds.items():
        print(f"{kind:24s} {len(place):5d} planted, {lost[kind]:3d} missed")
    print(f"falsely named {found['falsely_named']}, under another label {twins.other_label}")
    return found


if __name__ == "__main__":
    main()
