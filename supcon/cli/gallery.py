"""`gallery add|remove|list`: what a bundle compares with, changed without training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from supcon.cli.options import Commands, describe_unknown
from supcon.parsing import UserError


def add_to(commands: Commands, with_trace: argparse.ArgumentParser) -> None:
    """Say what can be typed."""
    gallery = commands.add_parser("gallery", help="images that a bundle compares with")
    actions = gallery.add_subparsers(dest="action", required=True)
    add = actions.add_parser(
        "add", parents=[with_trace], help="images of known or new classes, without training"
    )
    add.add_argument("model", type=Path, help="a bundle's folder")
    add.add_argument("images", type=Path, help="a folder with a folder for each class")
    add.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add.set_defaults(run=run_adding)
    remove = actions.add_parser("remove", parents=[with_trace], help="take images out")
    remove.add_argument("model", type=Path, help="a bundle's folder")
    remove.add_argument(
        "--class", nargs="+", action="extend", default=[], dest="classes", metavar="NAME",
        help="all images of these classes",
    )  # fmt: skip
    remove.add_argument(
        "--path", nargs="+", action="extend", default=[], type=Path, dest="paths", metavar="PATH",
        help="these images, and all below these folders",
    )  # fmt: skip
    remove.set_defaults(run=run_removing)
    show = actions.add_parser("list", parents=[with_trace], help="classes and their images")
    show.add_argument("model", type=Path, help="a bundle's folder")
    show.set_defaults(run=run_listing)


def run_adding(options: argparse.Namespace) -> int:
    """The `gallery add` command."""
    from supcon.bundle.upkeep import add_images

    change, manifest = add_images(options.model, options.images, options.device)
    for error in change.tally.errors:
        print(f"not read: {error}", file=sys.stderr)
    if change.tally.unreadable > len(change.tally.errors):
        print(f"not read: {change.tally.unreadable:,} in all", file=sys.stderr)
    new = f", new classes: {', '.join(change.new_classes)}" if change.new_classes else ""
    there = f" ({change.known:,} were there already)" if change.known else ""
    print(f"added {change.images:,} images{there}{new}\n{describe_unknown(manifest)}")
    if manifest.gallery_classes != manifest.classes:
        print("predict goes by knn from now on: the probe does not know the new classes")
    return 0


def run_removing(options: argparse.Namespace) -> int:
    """The `gallery remove` command."""
    if not options.paths and not options.classes:
        raise UserError("gallery remove: say what with --class NAME or --path PATH")
    from supcon.bundle.upkeep import remove_images

    change, manifest = remove_images(options.model, options.classes, options.paths)
    print(f"removed {change.images:,} images\n{describe_unknown(manifest)}")
    return 0


def run_listing(options: argparse.Namespace) -> int:
    """The `gallery list` command."""
    from supcon.bundle.gallery import Gallery
    from supcon.bundle.manifest import read_manifest

    manifest = read_manifest(options.model)
    gallery = Gallery.load(options.model / manifest.gallery)
    counts = np.bincount(gallery.labels, minlength=len(manifest.gallery_classes))
    added = np.bincount(gallery.labels[gallery.is_added], minlength=len(counts))
    print(f"{len(gallery):,} images of {len(counts)} classes")
    for i, name in enumerate(manifest.gallery_classes):
        new = "" if i < len(manifest.classes) else ", a class that the probe does not know"
        print(f"  {name}  {counts[i]:,}{f' ({added[i]:,} of them added)' if added[i] else ''}{new}")
    print(describe_unknown(manifest))
    return 0
