"""The search phase of a study whose trials sleep instead of train; all else is as in a search.

    python -m tests.benchmarks.sleeping FOLDER ADDRESS

FOLDER holds space.yaml and sleep.json: seconds of an epoch, bytes of a checkpoint, and footprints.
The images are noise, as many and as large as CIFAR-100's. Each trial writes where it was, and when.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import ray

from search.engine.session import ray_session
from search.engine.shared_images import SharedImages
from search.engine.trial_actor import SupConTrial
from search.engine.tuner import run_trials
from search.log.events import Started
from search.log.journal import Journal
from search.log.study import Study
from search.log.surroundings import LOOPBACK
from search.space.loading import load_space
from search.strategy.search_order import SearchOrder
from supcon.config import TOP1, Config
from supcon.images.split import Split, Splits
from supcon.train import Record


class SleepingTrial(SupConTrial):
    """Reports what a trial reports, at its epochs, and saves a file as large as its checkpoint."""

    def _start(self, trial: dict[str, Any]) -> None:
        super()._start(trial)
        self.share = trial["gpu"]
        self.records = self._sleep(self.training)

    def _sleep(self, config: Config) -> Iterator[Record]:
        given = json.loads((self.study.path / "sleep.json").read_text())
        began = time.time()
        for epoch in range(1, config.run.epochs + 1):
            time.sleep(given["seconds"])
            if given["checkpoint"]:
                self.study.checkpoint(self.name).write_bytes(bytes(given["checkpoint"]))
            is_last = epoch == config.run.epochs
            metrics = {"train/loss": 1.0, "train/lr": 0.1}
            if is_last or epoch in config.run.eval_at:
                score = float(np.random.default_rng([config.run.seed, epoch]).uniform())
                metrics |= dict.fromkeys((TOP1, "val/knn_top1", "val/knn1_top1"), score)
            if is_last:
                self._write_place(config, began)
            yield Record(epoch, metrics, 100_000 * epoch, time.time() - began, is_last)

    def _write_place(self, config: Config, began: float) -> None:
        context = ray.get_runtime_context()
        place = {
            "node": context.get_node_id(),
            "gpus": context.get_accelerator_ids().get("GPU", []),
            "share": self.share,
            "kind": [config.model.backbone, config.data.batch_size],
            "began": began,
            "ended": time.time(),
        }
        (self.folder / "place.json").write_text(json.dumps(place))


def noise() -> Splits:
    """Images as many and as large as those of CIFAR-100."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        return Split(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n) % 100)

    return Splits(split(45_000), split(5_000), tuple(f"class {i}" for i in range(100)))


def main(folder: Path, address: str) -> None:
    """Run the search phase."""
    space = load_space(folder / "space.yaml", {})
    given = (folder / "sleep.json").read_text()
    started = Started(
        study=space.name,
        space=space.dump(),
        commit="",
        versions={},
        measured=json.loads(given)["measured"],
    )
    log = Journal.create(folder / "study" / "events.jsonl", started)
    (folder / "study" / "sleep.json").write_text(given)
    images, study = SharedImages(noise()), Study(space, log)
    with (
        ray_session(address, LOOPBACK),
        images.shared() as data,
        patch("search.engine.tuner.SupConTrial", SleepingTrial),
    ):
        run_trials(study, data, ["search"], SearchOrder(study), must_stop=lambda: False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
