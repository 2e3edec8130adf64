"""Each choice of augmentation and loss, on and off, at equal budget: what does it do to val?

    python -m tests.benchmarks.training.ablations --root ~/data/cifar10-jpeg \
        --out results/ablations/cifar10.csv

One run after the other, each a row of the file as soon as it is over; started again, it goes on
with those that are missing, so that it fills idle hours. `--table` prints what the file says.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.judge.difference import mean_interval
from supcon.config import Config, override
from supcon.images.loading import load_splits
from supcon.images.split import Splits
from supcon.parsing import parse
from supcon.recipe.losses import simclr_loss, supcon_loss
from supcon.recipe.objective import Objective
from supcon.train import Record, Run

BASE: dict[str, Any] = {
    "data": {"name": "folder", "image_size": 32, "train_size": 4000, "val_size": 5000},
    "augment": {"strength": 0.5},
    "model": {"backbone": "test_resnet", "stem": "full"},
    "optim": {"lr_per_256": 0.45},  # between the best of the two losses in results/cifar10-10k.md
    "run": {"epochs": 30, "precision": "fp32", "threads": 1},
}
BATCH = 128
LOSSES: dict[str, dict[str, Any]] = {
    "ce": {"loss.name": "ce"},
    "supcon": {"loss.name": "supcon"},
    "supcon_ce": {"loss.name": "supcon_ce"},
}
CHOICES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "cutmix 1": {"augment.cutmix": 1.0},
    "mixup 0.2": {"augment.mixup": 0.2},
    "cutmix 1 or mixup 0.2, half of the views": {
        "augment.cutmix": 1.0,
        "augment.mixup": 0.2,
        "augment.mix_probability": 0.5,
    },
    "randaugment": {"augment.policy": "randaugment"},
    "trivialaugment": {"augment.policy": "trivialaugment"},
    "label smoothing 0.1": {"loss.label_smoothing": 0.1},
    "ce_weight 0.1": {"loss.ce_weight": 0.1},
    "ce_weight 0.9": {"loss.ce_weight": 0.9},
    "spread 0.25": {},
    "class prototypes": {},
}
TERMS = {"spread 0.25": "spread", "class prototypes": "prototypes"}
"""Choices that are no settings: terms that would become some if they proved themselves here."""
ONLY = {  # choices that not every loss has
    "label smoothing 0.1": ("ce", "supcon_ce"),
    "ce_weight 0.1": ("supcon_ce",),
    "ce_weight 0.9": ("supcon_ce",),
    **dict.fromkeys(TERMS, ("supcon",)),
}
SCORES = ("probe_top1", "knn_top1", "head_top1")
COLUMNS = ("loss", "choice", "seed", *SCORES, "train_loss", "train_seconds", "precision", "commit")
Row = dict[str, str]


def config_of(base: Config, loss: str, choice: str, seed: int) -> Config:
    """The config of one run."""
    own = {"run.seed": seed, **LOSSES[loss], **CHOICES[choice]}
    return override(base, own, "ablation")


def rows_of(path: Path) -> list[Row]:
    """What is known."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run_missing(base: Config, path: Path, seeds: int, choices: list[str]) -> None:
    """Train what is missing, seed after seed, so that every choice has a first one early."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = load_splits(base.data)
    done = {(row["loss"], row["choice"], row["seed"]) for row in rows_of(path)}
    for seed in range(seeds):
        for choice in choices:
            for loss in ONLY.get(choice, tuple(LOSSES)):
                if (loss, choice, str(seed)) in done:
                    continue
                last = last_record(config_of(base, loss, choice, seed), data, choice)
                scores = {name: last.metrics.get(f"val/{name}", "") for name in SCORES}
                known: dict[str, Any] = {
                    "train_loss": last.metrics["train/loss"],
                    "train_seconds": last.seconds,
                }
                known |= {"precision": base.run.precision}
                _append(path, {"loss": loss, "choice": choice, "seed": seed, **scores, **known})


def last_record(config: Config, data: Splits, choice: str) -> Record:
    """The last record of a run with a choice."""
    run = Run(config, data)
    match TERMS.get(choice):
        case "spread":
            run.loss = spread_loss(config)
        case "prototypes":
            run.loss = with_prototypes(run, len(data.classes))
    while run.epoch < config.run.epochs:
        run.train_epoch()
    return run.record()


def spread_loss(config: Config) -> Objective:
    """A quarter of it tells the images of a class apart (after Chen et al. 2022, arXiv:2204.07596).

    Theirs contrasts a class's images among themselves; here it is SimCLR's term among all.
    """
    known = {"temperature": config.loss.temperature, "base_temperature": config.loss.temperature}

    def loss(z: Tensor, labels: Tensor) -> Tensor:
        apart = simclr_loss(z, labels, views=config.augment.views, **known)
        return 0.75 * supcon_loss(z, labels, **known) + 0.25 * apart

    return loss


def with_prototypes(run: Run, classes: int) -> Objective:
    """Learned centres of the classes take part as a further view of each, as in parametric
    contrastive learning (PaCo, Cui et al. 2021, arXiv:2107.12028), without its momentum and queue.
    """
    t, width = run.config.loss.temperature, run.config.model.head_dim
    generator = torch.Generator().manual_seed(run.config.run.seed)
    centres = nn.Parameter(torch.randn(classes, width, generator=generator) / width**0.5)
    run.optimizer.add_param_group({"params": [centres], "weight_decay": 0.0})
    ids = torch.arange(classes)

    def loss(z: Tensor, labels: Tensor) -> Tensor:
        both = torch.cat([F.normalize(z.float(), dim=1), F.normalize(centres, dim=1)])
        known = torch.cat([labels, ids])
        return supcon_loss(both, known, temperature=t, base_temperature=t)

    return loss


def _append(path: Path, row: dict[str, Any]) -> None:
    is_new = not path.exists()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow({**row, "commit": commit})
    print(row, flush=True)


def table(rows: list[Row]) -> str:
    """A line for each loss and choice: mean over seeds, and what it adds to the same seeds."""
    by_choice: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_choice[row["loss"], row["choice"]][row["seed"]] = row
    lines = [
        "| loss | choice | probe | kNN | head | probe, against as it is | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for loss in LOSSES:
        plain = by_choice[loss, "as it is"]
        for choice in CHOICES:
            if (found := by_choice.get((loss, choice))) is None:
                continue
            means = [_percent([row[name] for row in found.values()]) for name in SCORES]
            gain = _gain(plain, found) if choice != "as it is" else ""
            cells = [loss, choice, *means, gain, str(len(found))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(values: list[str]) -> str:
    numbers = [100 * float(value) for value in values if value]
    if not numbers:
        return ""
    spread = f" ± {statistics.stdev(numbers):.2f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.2f}{spread}"


def _gain(plain: dict[str, Row], found: dict[str, Row]) -> str:
    """Mean difference over the seeds that both have, with its 95 % interval (Student's t)."""
    both = sorted(plain.keys() & found.keys())
    gains = [
        100 * (float(found[seed]["probe_top1"]) - float(plain[seed]["probe_top1"])) for seed in both
    ]
    if not gains:
        return ""
    interval = mean_interval(gains)
    within = "" if interval is None else f" ({interval[0]:+.2f} to {interval[1]:+.2f})"
    return f"{statistics.mean(gains):+.2f}{within}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="train/<class>/*, test/<class>/*")
    parser.add_argument("--out", type=Path, required=True, help="the table, a CSV")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=BASE["run"]["epochs"])
    parser.add_argument("--precision", default=BASE["run"]["precision"], choices=("fp32", "bf16"))
    parser.add_argument("--choices", nargs="*", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--table", action="store_true", help="print it as it is, and train nothing")
    args = parser.parse_args()
    if not args.table:
        own = {"data.root": str(args.root), "data.batch_size": BATCH}
        own |= {"run.epochs": args.epochs, "run.precision": args.precision}
        base = override(parse(Config, BASE, "base"), own, "ablation")
        run_missing(base, args.out, args.seeds, args.choices)
    print(table(rows_of(args.out)))


if __name__ == "__main__":
    main()
