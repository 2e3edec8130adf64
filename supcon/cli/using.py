"""`bundle`, `predict`, `embed` and `neighbours`: what comes of a model for those who use it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from supcon.cli.options import Commands, describe_unknown, load_run, tell_unread, whole
from supcon.parsing import UserError, check_is_free

if TYPE_CHECKING:
    from supcon.bundle.manifest import OnnxFile
    from supcon.bundle.model import Model
    from supcon.bundle.predictions import Tally
    from supcon.bundling.making import Choices
    from supcon.bundling.study import Winner
    from supcon.intake.inputs import Inputs
    from supcon.train import Run


def add_to(
    commands: Commands, shared: argparse.ArgumentParser, with_trace: argparse.ArgumentParser
) -> None:
    """Say what can be typed."""
    bundle = commands.add_parser(
        "bundle", parents=[shared], help="make a trained model ready for use, in a folder"
    )
    bundle.add_argument("model", type=Path, help="a study's folder, a run's, or a model's file")
    bundle.add_argument("--out", type=Path, default=Path("model"), help="default: model")
    bundle.add_argument("--arm", help="of a study (default: the one that is better on val)")
    bundle.add_argument(
        "--seed-of", default="best", metavar="best|all|N", help="which of its confirmed runs"
    )
    bundle.add_argument(
        "--false-alarms", type=float, default=0.05, metavar="RATE",
        help="share of images of known classes that may be called unknown (default: 0.05)",
    )  # fmt: skip
    bundle.add_argument(
        "--on", choices=("train", "all"), default="train",
        help="all: train once more on train and val together; that model has no score",
    )  # fmt: skip
    bundle.add_argument(
        "--onnx", action="store_true", help="add model.onnx, compared with torch on images of val"
    )
    bundle.add_argument("--half", action="store_true", help="keep the gallery in fp16")
    bundle.set_defaults(run=run_bundle)

    images = argparse.ArgumentParser(add_help=False, parents=[with_trace])
    images.add_argument("model", type=Path, help="a bundle's folder, or an .onnx file")
    images.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH",
        help="images, folders, a .csv with a column of paths, or - for a list on standard input",
    )  # fmt: skip
    images.add_argument("--column", default="path", help="of a .csv (default: path)")
    images.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")

    predict = commands.add_parser("predict", parents=[images], help="classes of new images")
    predict.add_argument("--by", choices=("probe", "knn", "head"), help="default: probe")
    predict.add_argument("--top", type=int, default=1, metavar="N", help="name so many classes")
    predict.add_argument(
        "--labelled", action="store_true", help="a folder is called like its class: compare"
    )
    predict.add_argument("--out", type=Path, help="a .csv (default: standard output)")
    predict.set_defaults(run=run_predict)

    embed = commands.add_parser("embed", parents=[images], help="embeddings of new images")
    embed.add_argument("--out", type=Path, required=True, help="a .parquet or .npz")
    embed.set_defaults(run=run_embedding)

    near = commands.add_parser("neighbours", parents=[images], help="nearest training images")
    near.add_argument("--k", type=int, default=10, help="so many (default: 10)")
    near.add_argument("--out", type=Path, help="an .html with pictures (default: a table)")
    near.set_defaults(run=run_neighbours)


def run_bundle(options: argparse.Namespace) -> int:
    """The `bundle` command."""
    from supcon.bundling.making import Choices
    from supcon.bundling.study import is_study, winners

    if not 0 < options.false_alarms < 1:
        raise UserError(f"--false-alarms must lie between 0 and 1, got {options.false_alarms}")
    check_is_free(options.out)
    if options.onnx:
        from supcon.bundling.onnx_model import check_can_export

        check_can_export()
    choices = Choices(options.false_alarms, options.half)
    if not is_study(options.model):
        if options.arm:
            raise UserError(f"--arm {options.arm}: {options.model} is no study, and has no arms")
        _bundle(options, options.model, choices, options.out, None)
        return 0
    found = winners(options.model, options.arm, options.seed_of)
    for each in found:
        print(f"{each.run}: {each.why}")
        out = options.out / each.run if len(found) > 1 else options.out
        _bundle(options, each.file, choices, out, each)
    return 0


def _bundle(
    options: argparse.Namespace, model: Path, choices: Choices, out: Path, won: Winner | None
) -> None:
    path, trained, config = load_run(model, options.set)
    from supcon.bundling.making import as_it_is, make_bundle, source_of
    from supcon.bundling.on_all import train_on_all
    from supcon.bundling.onnx_model import add_onnx
    from supcon.evaluation.trained import check_same_data
    from supcon.images.loading import load_splits

    data = load_splits(config.data)
    check_same_data(path, data)
    source, on_all = source_of(path, trained, config, data, won), None
    if options.on == "all":
        out.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = out.with_name(f".{out.name}.on-all.pt")
        on_all = train_on_all(trained, config, data, checkpoint, _tell)
    finish = partial(add_onnx, images=data.val.images) if options.onnx else as_it_is
    made = make_bundle(
        trained, config, data, source, choices, out, won=won, on_all=on_all, finish=finish
    )
    by = ", ".join(f"{name} {t:.3g}" for name, t in made.temperatures.items())
    print(f"wrote {out}: {len(made.classes)} classes, temperatures {by}; {describe_unknown(made)}")
    if made.onnx:
        print(_compared(made.onnx, out, made.precision))
    print(f"next: python -m supcon predict {out} IMAGES --out predictions.csv")


def _tell(run: Run) -> None:
    epochs = run.config.run.epochs
    print(f"epoch {run.epoch:>3}/{epochs}  loss {run.metrics['train/loss']:.4f}", flush=True)


def _compared(onnx: OnnxFile, out: Path, precision: str) -> str:
    gaps = ", ".join(f"{name} {gap:.1g}" for name, gap in onnx.differences.items())
    text = (
        f"{out / 'model.onnx'}: opset {onnx.opset}, agrees with torch in fp32 on {onnx.images} "
        f"images of val (largest differences {gaps}; at most {onnx.tolerance:g} is allowed)"
    )
    if precision == "fp32":
        return text
    return f"{text}; {precision} gives {onnx.other_labels} of them another class"


def run_predict(options: argparse.Namespace) -> int:
    """The `predict` command."""
    if options.top < 1:
        raise UserError(f"--top must be at least 1, got {options.top}")
    if options.out is not None:
        check_is_free(options.out)
    inputs = _inputs(options)
    from supcon.bundle.model import load
    from supcon.bundle.predictions import Table, Tally, blocks_of

    model, tally = load(options.model, options.device), Tally()
    by = model.check(options.by)
    if not len(model.gallery):
        note = "no bundle.json beside it that names it: unknown and nearest images stay empty"
        print(f"{options.model}: {note}", file=sys.stderr)
    with _rows(options.out) as out:
        table = Table(out, model, by, options.top, labelled=options.labelled)
        for block in blocks_of(model, inputs, tally):
            table.add(block, tally)
    return _told(options, inputs, tally)


def run_embedding(options: argparse.Namespace) -> int:
    """The `embed` command."""
    check_is_free(options.out)
    inputs = _inputs(options)
    from supcon.bundle.embeddings import writer_for
    from supcon.bundle.model import load
    from supcon.bundle.predictions import Tally, blocks_of

    make = writer_for(options.out)
    model, tally = load(options.model, options.device), Tally()
    dim = model.gallery.embeddings.shape[1]
    with whole(options.out) as partial, make(partial, dim) as writer:
        for block in blocks_of(model, inputs, tally):
            if len(block.places):
                paths = [str(block.paths[i]) for i in block.places.tolist()]
                writer.add(paths, model.encode(block.pixels).features.cpu().numpy())
    return _told(options, inputs, tally)


def run_neighbours(options: argparse.Namespace) -> int:
    """The `neighbours` command."""
    if options.k < 1:
        raise UserError(f"--k must be at least 1, got {options.k}")
    inputs = _inputs(options)
    from supcon.bundle.model import load
    from supcon.bundle.predictions import Tally, blocks_of

    model, tally = load(options.model, options.device), Tally()
    model.check_gallery()
    if options.out:
        _write_neighbours(options, model, inputs, tally)
        return _told(options, inputs, tally)
    for block in blocks_of(model, inputs, tally):
        if not len(block.places):
            continue
        found = model.named(model.search(model.encode(block.pixels).features, options.k))
        for row, place in enumerate(block.places):
            print(block.paths[place])
            for rank, path in enumerate(found.paths[row]):
                print(f"  {found.similarities[row, rank]:.4f}  {found.names[row][rank]}  {path}")
    return _told(options, inputs, tally)


def _write_neighbours(
    options: argparse.Namespace, model: Model, inputs: Inputs, tally: Tally
) -> None:
    from supcon.bundle.predictions import blocks_of
    from supcon.explore.near import Rows
    from supcon.explore.page import write_page

    rows = Rows(model, options.k)
    for block in blocks_of(model, inputs, tally):
        rows.add(block)
    write_page(options.out, rows.page(options.model))


def _inputs(options: argparse.Namespace) -> Inputs:
    from supcon.intake.inputs import Inputs

    return Inputs(options.paths, sys.stdin, options.column)


@contextmanager
def _rows(path: Path | None) -> Iterator[TextIO]:
    """Where rows go: a file, or standard output."""
    if path is None:
        yield sys.stdout
        return
    with (
        whole(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file


def _told(options: argparse.Namespace, inputs: Inputs, tally: Tally) -> int:
    """Say what became of the files; 2 if none could be read."""
    out = sys.stderr if getattr(options, "out", None) is None else sys.stdout
    for phrase in inputs.left_out.describe():
        print(f"left out: {phrase}", file=out)
    tell_unread(tally)
    if tally.labelled:
        share = tally.right / tally.labelled
        print(f"right: {tally.right:,} of {tally.labelled:,} ({100 * share:.2f} %)", file=out)
    if not tally.read:
        raise UserError("PATH: no image could be read; name images that can")
    where = f"wrote {options.out}: " if getattr(options, "out", None) else ""
    unknown = "" if tally.unknown is None else f", {tally.unknown:,} of them unknown"
    print(f"{where}{tally.read:,} images{unknown}", file=out)
    return 0
