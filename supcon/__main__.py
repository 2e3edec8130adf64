"""`python -m supcon train|evaluate|tsne|lr-find`: plain training, without a search.

Exit codes: 0 done, 2 the input is wrong, 3 the loss diverged, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supcon.config import TEXT_KEYS, Config, flatten, load_config, override
from supcon.parsing import UserError, is_there, parse_assignment, show_error

WRITTEN_DOWN = ("data.pipeline", "run.memory", "run.precision")  # by `train`, instead of `auto`
SETTINGS_OF_A_MODEL = ("data.root", "run.device", "run.precision", "run.threads")

GO_ON = "; the same command with --resume goes on"

# torch and timm are imported by the commands: a wrong config is reported before they have loaded.
if TYPE_CHECKING:
    from supcon.evaluation.trained import Trained


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the command."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except UserError as error:
        show_error(error, with_trace=options.debug)
        return 2
    except OSError as error:  # a full disk, say
        hint = GO_ON if options.command == "train" else ""
        show_error(UserError(f"{error}{hint}"), with_trace=options.debug)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted{GO_ON if options.command == 'train' else ''}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m supcon", description=__doc__.splitlines()[0])
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, for example --set run.epochs=50 (repeatable)",
    )
    shared.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser(
        "train", parents=[shared], help="train encoder and linear probe from a config"
    )
    train.add_argument("config", type=Path, help="a training config in YAML")
    train.add_argument("--out", type=Path, help="output folder (default: runs/<config's name>)")
    train.add_argument("--resume", action="store_true", help="continue the run in that folder")
    train.set_defaults(run=run_training)

    evaluate = commands.add_parser(
        "evaluate", parents=[shared], help="all metrics of a trained model"
    )
    evaluate.add_argument(
        "model", type=Path, help="a run's folder, or a file such as runs/x/best.pt"
    )
    evaluate.add_argument(
        "--split", choices=("val", "test"), default="val", help="default: val; test is for the end"
    )
    evaluate.set_defaults(run=run_evaluation)

    tsne = commands.add_parser(
        "tsne", parents=[shared], help="t-SNE picture of train and val, before and after the head"
    )
    tsne.add_argument("model", type=Path, help="a run's folder, or a file such as runs/x/best.pt")
    tsne.add_argument("--images", type=int, default=2000, help="at most so many of a split")
    tsne.set_defaults(run=run_tsne)

    find = commands.add_parser(
        "lr-find", parents=[shared], help="learning-rate range test of stage one"
    )
    find.add_argument("config", type=Path, help="a training config in YAML")
    find.add_argument("--lowest", type=float, default=1e-3, help="first optim.lr_per_256")
    find.add_argument("--highest", type=float, default=10.0, help="last optim.lr_per_256")
    find.add_argument("--steps", type=int, default=100, help="learning rates to try")
    find.add_argument("--out", type=Path, default=Path("lr-range.png"), help="the picture")
    find.set_defaults(run=run_lr_find)
    return parser


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
    from supcon.runlog import RunLog
    from supcon.step_memory import settle_memory
    from supcon.train import Diverged, fit

    config = _as_before(config, out) if options.resume else config
    data = load_splits(config.data)
    data.check()
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
    _print_metrics(record.trained.metrics)
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


def run_evaluation(options: argparse.Namespace) -> int:
    """The `evaluate` command."""
    path, trained, config = _load(options)
    from supcon.evaluation.all_metrics import measure
    from supcon.evaluation.trained import check_same_data
    from supcon.images.loading import load_splits, load_test

    data = load_splits(config.data)
    check_same_data(path, data)
    out = path.with_name(f"{path.stem}-{options.split}.json")
    found: dict[str, Any] = {"epoch": trained.epoch, "weights": trained.weights}
    test = None
    if options.split == "test":
        found["test_evaluations"] = 1 + _openings(out)
        _write_json(out, found)  # counted before they are looked at
        print(f"times that this model has seen the test images: {found['test_evaluations']}")
        test = load_test(config.data)
    found["metrics"] = measure(trained, config, data, test)
    print(f"{path}: {trained.weights} weights after epoch {trained.epoch}, {options.split}:")
    _print_metrics(found["metrics"])
    _write_json(out, found)
    print(f"wrote {out}")
    return 0


def run_tsne(options: argparse.Namespace) -> int:
    """The `tsne` command."""
    if options.images < 10:
        raise UserError(f"--images must be at least 10, got {options.images}")
    path, trained, config = _load(options)
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


def _load(options: argparse.Namespace) -> tuple[Path, Trained, Config]:
    """The model file that a command names, what is in it, and its config."""
    import torch

    from supcon.evaluation.trained import load_trained
    from supcon.network.device import pick_device

    is_folder = is_there(options.model) and options.model.is_dir()
    path = options.model / "model.pt" if is_folder else options.model
    if not is_there(path):
        raise UserError(f"{path}: there is no such file; `train` writes model.pt when it is done")
    changes = dict(parse_assignment(text, TEXT_KEYS) for text in options.set)
    for key in changes:
        if key not in SETTINGS_OF_A_MODEL:
            raise UserError(
                f"--set {key}: is part of what the model is; only "
                f"{', '.join(SETTINGS_OF_A_MODEL)} can be changed afterwards"
            )
    _, config = load_trained(path, torch.device("cpu"))
    config = override(config, changes, "--set")
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    trained, _ = load_trained(path, pick_device(config.run.device))
    return path, trained, config


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


def _write_json(path: Path, tree: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _print_metrics(metrics: dict[str, float]) -> None:
    for name, value in metrics.items():
        print(f"  {name:32s} {value:.6f}")


if __name__ == "__main__":
    sys.exit(main())
