"""A whole SupCon trial against the usual recipe, on the same images, in one process.

    python -m tests.benchmarks.pipeline            # an hour on 2 CPU cores
    python -m tests.benchmarks.pipeline --quick    # a minute, on bundled digits: only that it runs

Both train the same network with the same objective, policy, optimiser and length, in turn, with
the same seeds; figures are medians over the repeats. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.preflight.step_cost import stepper
from supcon.auto_settings import describe, settle
from supcon.config import Config, override
from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.embedding import Embedded, embed
from supcon.evaluation.probe import fit_probe
from supcon.evaluation.scores import _batchnorm_images, labels_of, other_predictions
from supcon.evaluation.trained import predict
from supcon.images.loading import load_splits
from supcon.images.split import Split, Splits
from supcon.network.device import pick_device, precision_tools, seconds_of
from supcon.recipe.averaging import reestimate_batchnorm
from supcon.train import Run, fit
from tests.benchmarks.usual import UsualRun

N_VAL = 1000  # of 5,000 that are held out; the others tell the accuracy, outside of all timing
BARE = 15  # steps with and without all that is not the network's
FULL = {
    "data.name": "folder",
    "data.image_size": 32,
    "data.train_size": 2000,
    "data.val_size": 5000,
    "data.batch_size": 200,
    "model.backbone": "resnet18",
    "augment.strength": 0.5,
    "optim.name": "adamw",  # 200 steps of SGD teach SupCon nothing here
    "optim.lr_per_256": 0.002,
    "run.epochs": 20,
}
QUICK = {
    "data.name": "digits",
    "data.image_size": 32,
    "data.train_size": 400,
    "data.val_size": 600,
    "data.batch_size": 100,
    "model.backbone": "test_resnet",
    "optim.name": "adamw",
    "optim.lr_per_256": 0.002,
    "run.epochs": 2,
}


@dataclass(frozen=True)
class Measured:
    """Seconds of one trial and its parts, and its accuracy on images that it never saw."""

    stage_one: float
    evaluation: float
    stage_two: float
    trial: float
    accuracy: float
    bare_share: float = math.nan
    """Of a step, forward and backward of the network on a batch that is there: the bare limit."""


def main() -> None:
    """Run, print a table and a line of JSON."""
    options = _options()
    shape: dict[str, Any] = dict(QUICK) if options.quick else FULL | {"data.root": options.root}
    shape |= {"model.stem": options.stem, "run.device": options.device}
    shape |= {"augment.policy": options.policy}
    shape |= {"run.epochs": options.epochs} if options.epochs else {}
    config = override(Config(), shape, "options")
    data, unseen = _split(load_splits(config.data), 200 if options.quick else N_VAL)
    config = override(config, settle(config, data), "auto")
    device = pick_device(config.run.device)
    print(
        f"{config.model.backbone}, {options.stem} stem, {data.train.images.shape[1]} pixels, "
        f"batch {config.data.batch_size}, {len(data.train)} train and {len(data.val)} val images, "
        f"{config.run.epochs} epochs, {config.augment.policy}; {device.type}, "
        f"{torch.get_num_threads()} threads; torch {torch.__version__}, "
        f"Python {platform.python_version()}; ours {describe(config, data)}",
        flush=True,
    )
    workers = _best_workers(config, data, device)
    usual, ours, probes = [], [], []
    for seed in range(options.repeats):
        seeded = override(config, {"run.seed": seed}, "seed")
        theirs, probe_gain = measure_usual(seeded, data, unseen, device, workers)
        usual.append(theirs)
        probes.append(probe_gain)
        ours.append(measure_ours(seeded, data, unseen, device))
        print(f"seed {seed}: usual {usual[-1]}\n        ours  {ours[-1]}", flush=True)
    summary = _summary(config, usual, ours)
    summary["stage_two_accuracy_gain"] = statistics.mean(probes)
    _print_table(summary)
    print(json.dumps(summary))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pipeline")
    parser.add_argument("--quick", action="store_true", help="a minute, on bundled digits")
    parser.add_argument("--repeats", type=int, default=3, help="trials of either kind")
    parser.add_argument("--epochs", type=int, help="of stage one")
    parser.add_argument("--root", default="~/data/cifar10-jpeg", help="train/<class>/*")
    parser.add_argument("--stem", choices=("full", "small"), default="full", help="timm's, or ours")
    policies = ("crop_jitter", "randaugment", "trivialaugment")
    parser.add_argument("--policy", choices=policies, default="crop_jitter", help="of both")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    options.root = str(Path(options.root).expanduser())
    return options


def _split(data: Splits, n_val: int) -> tuple[Splits, Split]:
    """Part of val for the trials, and the rest."""
    order = np.random.default_rng(0).permutation(len(data.val))
    val, unseen = data.val.take(order[:n_val]), data.val.take(order[n_val:])
    return Splits(data.train, val, data.classes), unseen


def _best_workers(config: Config, data: Splits, device: torch.device) -> int:
    """The number of augmenting processes with which the usual recipe trains fastest."""
    seconds = {}
    cores = torch.get_num_threads()
    for workers in sorted({0, 1, 2, cores // 2, cores}):
        run = UsualRun(config, data, device, workers)
        run.train_epoch(max_steps=1)
        seconds[workers] = seconds_of(partial(run.train_epoch, max_steps=4), device)
    best = min(seconds, key=lambda workers: seconds[workers])
    tried = ", ".join(f"{w}: {s / 4:.2f} s" for w, s in seconds.items())
    print(f"usual recipe, a step by workers: {tried}; {best} it is", flush=True)
    return best


def measure_usual(
    config: Config, data: Splits, unseen: Split, device: torch.device, workers: int
) -> tuple[Measured, float]:
    """A trial of the usual recipe; and how much better our probe does on its encoder."""
    run = UsualRun(config, data, device, workers)
    spent = run.run()
    truth = torch.tensor(unseen.labels)
    found = accuracy(spent.predict(unseen), truth)
    encoder = run.model.encoder.eval()
    features = {
        name: run.embed(encoder, run.loader(split, run.plain))[0]
        for name, split in (("train", data.train), ("val", data.val), ("unseen", unseen))
    }
    fitted = fit_probe(
        features["train"],
        labels_of(data.train, device),
        features["val"],
        labels_of(data.val, device),
        classes=len(data.classes),
        penalties=config.probe.l2,
        max_iter=config.probe.max_iter,
    )
    ours = accuracy(fitted.probe.predict(features["unseen"]).cpu(), truth)
    evaluation = statistics.median(spent.evaluations)
    return Measured(spent.stage_one, evaluation, spent.stage_two, spent.trial, found), ours - found


def measure_ours(config: Config, data: Splits, unseen: Split, device: torch.device) -> Measured:
    """A trial of this project; its parts are timed once more, on the trained network."""
    started = time.perf_counter()
    *_, last = fit(config, data)
    trial = time.perf_counter() - started
    assert last.trained is not None
    network = last.trained.network
    autocast, _ = precision_tools(config.run.precision, device)
    bank_y, y = labels_of(data.train, device), labels_of(data.val, device)

    def embed_both() -> list[Embedded]:
        return [
            embed(network, split.images, device=device, autocast=autocast)
            for split in (data.train, data.val)
        ]

    def evaluate() -> None:
        images = _batchnorm_images(config, data.train)
        reestimate_batchnorm(network, images, device, autocast)
        bank, queries = embed_both()
        other_predictions(config, bank, bank_y, queries, len(data.classes))

    def stage_two() -> None:
        bank, queries = embed_both()
        fit_probe(
            bank.features,
            bank_y,
            queries.features,
            y,
            classes=len(data.classes),
            penalties=config.probe.l2,
            max_iter=config.probe.max_iter,
        )

    ids = predict(last.trained, config, data.train, unseen.images)["probe"]
    right = accuracy(ids, torch.tensor(unseen.labels))
    evaluation, second = (_median_seconds(part, device) for part in (evaluate, stage_two))
    share = bare_share(config, data)
    return Measured(last.seconds, evaluation, second, trial, right, share)


def bare_share(config: Config, data: Splits) -> float:
    """The bare limit over a whole step: batch, loss, optimiser and EMA are what it is short of 1.

    Both are timed in turn, on weights that do not move.
    """
    run = Run(config, data)
    run.network.train()
    fixed, _ = next(iter(run.loader(1)))
    whole = stepper(run)

    def bare() -> None:
        with run.autocast():
            outputs = run.forward(fixed)
        outputs.float().square().mean().backward()
        run.optimizer.zero_grad()

    pairs = [[seconds_of(work, run.device) for work in (bare, whole)] for _ in range(2 + BARE)]
    return statistics.median(limit / step for limit, step in pairs[2:])


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    return statistics.median(seconds_of(work, device) for _ in range(3))


def _summary(config: Config, usual: list[Measured], ours: list[Measured]) -> dict[str, Any]:
    steps = config.data.train_size // config.data.batch_size if config.data.train_size else 0
    views = steps * config.data.batch_size * config.augment.views * config.run.epochs
    summary: dict[str, Any] = {}
    for part in ("stage_one", "evaluation", "stage_two", "trial"):
        pair = [[getattr(m, part) for m in side] for side in (usual, ours)]
        before, after = (statistics.median(seconds) for seconds in pair)
        summary[f"{part}_ratio"] = statistics.median(u / o for u, o in zip(*pair, strict=True))
        summary[f"{part}_seconds"] = {"usual": before, "ours": after}
    summary["bare_share"] = statistics.median(m.bare_share for m in ours)
    stage_one = summary["stage_one_seconds"]
    summary["views_per_s"] = views / stage_one["ours"]
    summary["usual_views_per_s"] = views / stage_one["usual"]
    summary["accuracy"] = {
        "usual": statistics.mean(m.accuracy for m in usual),
        "ours": statistics.mean(m.accuracy for m in ours),
    }
    return summary


def _print_table(summary: dict[str, Any]) -> None:
    print(f"\n{'':28s}{'usual':>10s}{'ours':>10s}{'ratio':>8s}")
    usual, ours = summary["usual_views_per_s"], summary["views_per_s"]
    print(f"{'stage one, views/s':28s}{usual:10.0f}{ours:10.0f}{summary['stage_one_ratio']:8.2f}")
    print(f"{'  of the bare limit':28s}{'':10s}{summary['bare_share']:10.2f}")
    for part in ("evaluation", "stage_two", "trial"):
        spent = summary[f"{part}_seconds"]
        name = f"{part.replace('_', ' ')}, s"
        ratio = summary[f"{part}_ratio"]
        print(f"{name:28s}{spent['usual']:10.2f}{spent['ours']:10.2f}{ratio:8.2f}")
    usual, ours = (100 * summary["accuracy"][who] for who in ("usual", "ours"))
    print(f"{'accuracy, unseen images, %':28s}{usual:10.2f}{ours:10.2f}")
    gain = 100 * summary["stage_two_accuracy_gain"]
    print(f"our probe on the usual run's encoder: {gain:+.2f} points\n")


if __name__ == "__main__":
    main()
