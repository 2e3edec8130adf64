"""`explore`: a bundle as a page to look at."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from supcon.cli.options import Commands, tell_unread
from supcon.parsing import UserError

if TYPE_CHECKING:
    from supcon.bundle.model import Model
    from supcon.explore.looking import Looked


def add_to(commands: Commands, with_trace: argparse.ArgumentParser) -> None:
    """Say what can be typed."""
    explore = commands.add_parser(
        "explore", parents=[with_trace],
        help="a page: map of embeddings, confusions, doubtful labels, unknown images",
    )  # fmt: skip
    explore.add_argument("model", type=Path, help="a bundle's folder")
    explore.add_argument(
        "paths", type=Path, nargs="*", metavar="DATA",
        help="images, folders (best one for each class), a .csv with a column of paths, or - for a "
        "list on standard input (default: the bundle's own training images and val)",
    )  # fmt: skip
    explore.add_argument("--out", type=Path, default=Path("explore.html"))
    explore.add_argument(
        "--images", type=int, default=3000, metavar="N",
        help="at most so many, evenly picked (default: 3000; the page stays fluid with 10000)",
    )  # fmt: skip
    explore.add_argument(
        "--map", choices=("tsne", "umap"), default="tsne", help="umap needs umap-learn"
    )
    explore.add_argument(
        "--suspects", type=Path, metavar="FILE",
        help="a study's suspects.csv (default: looked for among the images)",
    )  # fmt: skip
    explore.add_argument("--column", default="path", help="of a .csv (default: path)")
    explore.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    explore.set_defaults(run=run_explore)


def run_explore(options: argparse.Namespace) -> int:
    """The `explore` command."""
    if options.images < 1:
        raise UserError(f"--images must be at least 1, got {options.images}")
    from supcon.bundle.manifest import read_manifest
    from supcon.bundle.model import load
    from supcon.explore.contents import Choices, contents
    from supcon.explore.page import explored, write_page
    from supcon.explore.placing import check
    from supcon.explore.wording import around

    check(options.map)
    read_manifest(options.model)  # an ONNX file judges no embeddings
    model = load(options.model, options.device)
    looked = _look(options, model)
    shown = contents(model, looked, Choices(options.map, options.suspects, _say))
    html = explored(shown, **around(options.model, model, looked, shown))
    write_page(options.out, html)
    size = options.out.stat().st_size / 1e6
    print(f"wrote {options.out}: {len(looked):,} images, {size:.1f} MB")
    return 0


def _look(options: argparse.Namespace, model: Model) -> Looked:
    from supcon.explore.looking import look_at_bundle, look_at_files

    if not options.paths:
        return look_at_bundle(model, options.model, options.images)
    from supcon.bundle.predictions import Tally
    from supcon.intake.inputs import Inputs

    inputs, tally = Inputs(options.paths, sys.stdin, options.column), Tally()
    looked = look_at_files(model, inputs, options.images, tally)
    for phrase in inputs.left_out.describe():
        print(f"left out: {phrase}")
    tell_unread(tally)
    return looked


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
