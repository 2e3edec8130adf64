"""`python -m supcon train CONFIG.yaml`: plain training, without a search.

Exit codes: 0 done, 2 the input is wrong, 3 the loss diverged, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from supcon.config import load_config, override
from supcon.parsing import UserError, parse_assignment, show_error


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="python -m supcon", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train encoder and linear probe from a config")
    train.add_argument("config", type=Path, help="a training config in YAML")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, for example --set run.epochs=50 (repeatable)",
    )
    train.add_argument(
        "--out", type=Path, help="output folder (default: runs/<name of the config>)"
    )
    train.add_argument(
        "--resume", action="store_true", help="continue the run in the output folder"
    )
    train.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    options = parser.parse_args(arguments)
    try:
        return run_training(options)
    except UserError as error:
        show_error(error, with_trace=options.debug)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume goes on", file=sys.stderr)
        return 130


def run_training(options: argparse.Namespace) -> int:
    """The `train` command."""
    config = load_config(options.config)
    config = override(config, dict(parse_assignment(text) for text in options.set), "--set")
    out = options.out or Path("runs") / options.config.stem
    if not options.resume and any((out / name).exists() for name in ("last.pt", "log.txt")):
        raise UserError(
            f"--out {out}: holds a run already; continue it with --resume, remove it, or "
            f"choose another folder"
        )

    # Imported late: a wrong config is reported at once, not after torch and timm have loaded.
    from supcon.data import load_splits
    from supcon.runlog import RunLog
    from supcon.train import Diverged, fit
    from supcon.trained import save_trained

    data = load_splits(config.data)
    print(
        f"{config.data.name}: {len(data.train)} train and {len(data.val)} val images, "
        f"{len(data.classes)} classes; {config.loss.name} with {config.model.backbone}"
    )
    try:
        log = RunLog(config, out, out / "tensorboard")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error})") from error
    try:
        with log:
            for record in fit(config, data, out / "last.pt"):
                print(log.write(record), flush=True)
    except Diverged as error:
        print(f"diverged: {error}; try a smaller optim.lr_per_256", file=sys.stderr)
        return 3
    assert record.trained is not None
    save_trained(record.trained, config, data, out / "model.pt")
    print(f"\nvalidation, with the {record.trained.weights} weights:")
    for name, value in record.metrics.items():
        if name.startswith("val/"):
            print(f"  {name:20s} {value:.6f}")
    print(f"wrote {out}/model.pt, config.yaml, log.txt, tensorboard/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
