"""`train` and `lr-find`: from a config to weights, or to a learning rate."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from supcon.cli.options import Commands, print_metrics
from supcon.config import TEXT_KEYS, Config, flatten, load_config, override
from supcon.parsing import UserError, is_there, parse_assignment

WRITTEN_DOWN = ("data.pipeline", "run.memory", "run.precision")  # by `train`, instead of `auto`


def add_to(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Say what can be typed."""
    train = commands.add_parser(
        "train", parents=[shared], help="train encoder and linear probe from a config"
    )
    train.add_argument("config", type=Path, help="a training config in YAML")
    train.add_argument("--out", type=Path, help="output folder (default: runs/<config's name>)")
    train.add_argument("--resume", action="store_true", help="continue the run in that folder")
    train.set_defaults(run=run_training)

    find = commands.add_parser(
        "lr-find", parents=[shared], help="learning-rate range test of stage one"
    )
    find.add_argument("config", type=Path, help="a training config in YAML")
    find.add_argument("--lowest", type=float, default=1e-3, help="first optim.lr_per_256")
    find.add_argument("--highest", type=float, default=10.0, help="last optim.lr_per_256")
    find.add_argument("--steps", type=int, default=100, help="learning rates to try")
    find.add_argument("--out", type=Path, default=Path("lr-range.png"), help="the picture")
    find.set_defaults(run=run_lr_find)


def run_training(options: argparse.Namespace) -> int:
    """The `train` command."""
    config = _config(options)
    out = options.out or Path("runs") / options.config.stem
    _check_folder(out, resume=options.resume)
    from supcon.auto_settings import describe, settle
    from supcon.collapse import describe_collapse
    from supcon.evaluation.trained import save_if_best, save_trained
    from supcon.images.batches import check_room_to_share
    from supcon.images.loading import load_splits
    from supcon.machine import cores
    from supcon.network.models import network_for
    from supcon.network.weights import pinned
    from supcon.runlog import RunLog
    from supcon.step_memory import settle_memory
    from supcon.train import Diverged, fit

    config = _as_before(config, out) if options.resume else config
    data = load_splits(config.data)
    data.check()
    config = override(config, pinned(config.model), "model.weights")
    config = override(config, settle(config, data), "auto")
    config = override(config, settle_memory([config], data), "auto")
    check_room_to_share(config, data.train, threads=config.run.threads or cores())
    encoder = network_for(config, data).encoder
    print(
        f"{config.data.name}: {len(data.train)} train and {len(data.val)} val images, "
        f"{len(data.classes)} classes; {config.loss.name} with {config.model.backbone} "
        f"({encoder.describe()})\nimages {describe(config, data)}"
    )
    for phrase in data.left_out.describe():
        print(f"left out: {phrase}")
    try:
        log = RunLog(config, out, out / "tensorboard")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error})") from error
    try:
        with log:
            for record in fit(config, data, out / "last.pt"):
                print(log.write(record), flush=True)
                if record.trained is not None:
                    save_if_best(record.trained, config, data, out / "best.pt")
    except Diverged as error:
        print(f"diverged: {error}; try a smaller optim.lr_per_256", file=sys.stderr)
        return 3
    assert record.trained is not None
    save_trained(record.trained, config, data, out / "model.pt")
    print(f"\nvalidation, with the {record.trained.weights} weights:")
    print_metrics(record.trained.metrics)
    if collapse := describe_collapse(record.trained.metrics):
        print(
            f"warning: on val, {collapse}: the encoder does not tell these images apart; look at "
            f"them, or try a smaller optim.lr_per_256 or another loss.temperature"
        )
    print(
        f"wrote {out}/model.pt (last epoch), best.pt (best epoch by {config.selection_metric}: "
        f"chosen on val, so its score there is too good), config.yaml, log.txt, tensorboard/"
    )
    return 0


def run_lr_find(options: argparse.Namespace) -> int:
    """The `lr-find` command."""
    if not 0 < options.lowest < options.highest < math.inf:
        raise UserError(
            f"--lowest and --highest: 0 < lowest < highest must hold, "
            f"got {options.lowest:g} and {options.highest:g}"
        )
    if options.steps < 20:
        raise UserError(f"--steps must be at least 20, got {options.steps}")
    if options.out.suffix != ".png" or not options.out.parent.is_dir():
        raise UserError(f"--out {options.out}: must be a .png file in a folder that is there")
    config = _config(options)
    from supcon.images.loading import load_splits
    from supcon.lr_find import draw, find_lr_per_256
    from supcon.train import Run

    run = Run(config, load_splits(config.data))
    found = find_lr_per_256(
        run, lowest=options.lowest, highest=options.highest, steps=options.steps
    )
    print(
        f"the loss of {config.loss.name} falls fastest at optim.lr_per_256 = "
        f"{found.suggestion:.3g} ({len(found.lr)} learning rates from {found.lr[0]:.3g} to "
        f"{found.lr[-1]:.3g})"
    )
    draw(found, "optim.lr_per_256", options.out)
    print(f"wrote {options.out}")
    return 0


def _config(options: argparse.Namespace) -> Config:
    changes = dict(parse_assignment(text, TEXT_KEYS) for text in options.set)
    return override(load_config(options.config), changes, "--set")


def _as_before(config: Config, out: Path) -> Config:
    """What `auto` meant when the run in that folder began."""
    try:
        begun = flatten(load_config(out / "config.yaml"))
    except UserError:  # nothing was recorded yet
        return config
    auto = [key for key, value in flatten(config).items() if value == "auto"]
    return override(config, {key: begun[key] for key in auto if key in WRITTEN_DOWN}, "--resume")


def _check_folder(out: Path, *, resume: bool) -> None:
    """Whether a run may write there: nothing of another run may be left, or taken for its own."""
    is_resumable = is_there(out / "last.pt")
    has_run = any(is_there(out / name) for name in ("log.txt", "best.pt", "model.pt"))
    if (is_resumable or has_run) and not resume:
        raise UserError(
            f"--out {out}: holds a run already; continue it with --resume, remove it, or "
            f"choose another folder"
        )
    if has_run and not is_resumable:
        raise UserError(
            f"--out {out}: holds a run, but no checkpoint (last.pt) to resume from; remove the "
            f"folder or choose another one"
        )
