"""What several commands share: a run's model by its folder, and metrics on a terminal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from supcon.config import TEXT_KEYS, Config, override
from supcon.parsing import UserError, is_there, parse_assignment

# torch and timm are imported by the commands: a wrong config is reported before they have loaded.
if TYPE_CHECKING:
    from supcon.bundle.manifest import Manifest
    from supcon.bundle.predictions import Tally
    from supcon.evaluation.trained import Trained

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

SETTINGS_OF_A_MODEL = ("data.root", "run.device", "run.precision", "run.threads")


def load_run(model: Path, settings: list[str]) -> tuple[Path, Trained, Config]:
    """The model file that a command names, what is in it, and its config.

    Args:
        model: a run's folder, or a file.
        settings: as given to --set.

    Raises:
        UserError: there is none, or a setting is part of what it is.
    """
    import torch

    from supcon.evaluation.trained import load_trained
    from supcon.network.device import pick_device

    is_folder = is_there(model) and model.is_dir()
    path = model / "model.pt" if is_folder else model
    if not is_there(path):
        raise UserError(f"{path}: there is no such file; `train` writes model.pt when it is done")
    changes = dict(parse_assignment(text, TEXT_KEYS) for text in settings)
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


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """Write a tree of plain values, or nothing."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Another name to write to; the file gets its own when nothing is missing.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error})") from error
    except BaseException:
        if partial.exists():
            print(f"{partial} holds what was done until then", file=sys.stderr)
        raise


def tell_unread(tally: Tally) -> None:
    """Name the first files that could not be read, and how many more there are."""
    for error in tally.errors:
        print(f"not read: {error}", file=sys.stderr)
    if tally.unreadable > len(tally.errors):
        print(f"not read: {tally.unreadable - len(tally.errors):,} more", file=sys.stderr)


def describe_unknown(manifest: Manifest) -> str:
    """When a bundle calls an image unknown, in a phrase."""
    unknown = manifest.unknown
    if unknown.threshold is None:
        return (
            f"nothing is called unknown: {unknown.images} held-out images are too few to promise "
            f"{100 * unknown.false_alarms:.3g} % false alarms"
        )
    return (
        f"unknown beyond a distance of {unknown.threshold:.4f} ({100 * unknown.false_alarms:.3g} % "
        f"false alarms, by {unknown.images:,} held-out images)"
    )


def print_metrics(metrics: dict[str, float]) -> None:
    """A line for each."""
    for name, value in metrics.items():
        print(f"  {name:32s} {value:.6f}")
