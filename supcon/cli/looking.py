"""`evaluate` and `tsne`: a trained model, looked at with the images that it was trained on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from supcon.cli.options import Commands, load_run, print_metrics, write_json
from supcon.cli.transferring import run_transfer
from supcon.parsing import UserError


def add_to(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Say what can be typed."""
    evaluate = commands.add_parser(
        "evaluate", parents=[shared], help="all metrics of a trained model"
    )
    evaluate.add_argument(
        "model", type=Path,
        help="a run's folder, or a file such as runs/x/best.pt; with --on also a study's folder",
    )  # fmt: skip
    evaluate.add_argument(
        "--split", choices=("val", "test"), help="default: val; test is for the end"
    )
    evaluate.add_argument(
        "--on", type=Path, metavar="IMAGES",
        help="other labelled images, of any classes: probe and kNN of the frozen encoder on these",
    )  # fmt: skip
    evaluate.add_argument("--arm", help="of a study (default: the one that is better on val)")
    evaluate.set_defaults(run=run_evaluation)

    tsne = commands.add_parser(
        "tsne", parents=[shared], help="t-SNE picture of train and val, before and after the head"
    )
    tsne.add_argument("model", type=Path, help="a run's folder, or a file such as runs/x/best.pt")
    tsne.add_argument("--images", type=int, default=2000, help="at most so many of a split")
    tsne.set_defaults(run=run_tsne)


def run_evaluation(options: argparse.Namespace) -> int:
    """The `evaluate` command."""
    if options.on is not None:
        if options.split is not None:
            raise UserError(f"--split {options.split}: goes without --on, which scores test")
        return run_transfer(options)
    if options.arm is not None:
        raise UserError(f"--arm {options.arm}: goes with --on alone; name a run's folder")
    path, trained, config = load_run(options.model, options.set)
    from supcon.evaluation.all_metrics import measure
    from supcon.evaluation.trained import check_same_data
    from supcon.images.loading import load_splits, load_test

    data = load_splits(config.data)
    check_same_data(path, data)
    split = options.split or "val"
    out = path.with_name(f"{path.stem}-{split}.json")
    found: dict[str, Any] = {"epoch": trained.epoch, "weights": trained.weights}
    test = None
    if split == "test":
        found["test_evaluations"] = 1 + _openings(out)
        write_json(out, found)  # counted before they are looked at
        print(f"times that this model has seen the test images: {found['test_evaluations']}")
        test = load_test(config.data)
    found["metrics"] = measure(trained, config, data, test)
    print(f"{path}: {trained.weights} weights after epoch {trained.epoch}, {split}:")
    print_metrics(found["metrics"])
    write_json(out, found)
    print(f"wrote {out}")
    return 0


def run_tsne(options: argparse.Namespace) -> int:
    """The `tsne` command."""
    if options.images < 10:
        raise UserError(f"--images must be at least 10, got {options.images}")
    path, trained, config = load_run(options.model, options.set)
    from supcon.evaluation.trained import check_same_data
    from supcon.evaluation.tsne import draw_tsne, panels_of
    from supcon.images.loading import load_splits
    from supcon.runlog import add_image

    data = load_splits(config.data)
    check_same_data(path, data)
    out = path.with_name(f"{path.stem}-tsne.png")
    panels = panels_of(trained, config, data, options.images)
    lacking = draw_tsne(panels, data.classes, config.run.seed, out)
    if lacking:
        print(
            f"no font here has {lacking:.20}: boxes in {out}, text in {out.with_suffix('.svg')}; "
            f"install one, such as Debian's fonts-noto-core and fonts-noto-cjk"
        )
    add_image(path.parent / "tensorboard", "t-SNE", out, trained.epoch)
    print(f"wrote {out}, and into {path.parent}/tensorboard")
    return 0


def _openings(path: Path) -> int:
    if not path.exists():
        return 0
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["test_evaluations"])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: damaged; it counts how often the model saw the test images, so "
            f"put it right, or remove it if you know that number is 0"
        ) from None
