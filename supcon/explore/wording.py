"""What explore.html says in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from supcon.bundle.model import Model
from supcon.explore.looking import PARTS, UNKNOWN, Looked


def around(bundle: Path, model: Model, looked: Looked, shown: dict[str, Any]) -> dict[str, Any]:
    """The sentences of the page, by their names in its template.

    Args:
        bundle: its folder.
        model: of it.
        looked: the images.
        shown: what `supcon.explore.contents.contents` made.
    """
    manifest = model.manifest
    source, classes = manifest.source, len(model.classes)
    run = f"{source.study}, {source.arm}, {source.run}" if source.study else source.run
    return {
        "bundle": bundle.absolute().name,
        "about": f"{_parts(looked)}; {classes} classes, predicted by {shown['by']}.",
        "source": f"run {run} · {source.weights} weights after epoch {source.epoch} · made "
        f"{manifest.made} · gallery of {len(model.gallery):,} images",
        "notes": _notes(looked, shown),
        "confused": _confused(shown["confusions"]),
        "doubtful": _doubtful(shown["suspects"]),
        "unknown": _unknown(shown["unknown"]),
    }


def _parts(looked: Looked) -> str:
    names = {
        "train": "training images of the gallery",
        "added": "images added to the gallery",
        "val": "images of val",
        "given": "images that were named",
    }
    counts = np.bincount(looked.parts, minlength=len(PARTS)).tolist()
    return ", ".join(f"{n:,} {names[part]}" for part, n in zip(PARTS, counts, strict=True) if n)


def _notes(looked: Looked, shown: dict[str, Any]) -> list[str]:
    notes = []
    if n := len(shown["missing"]):
        notes.append(
            f"{n:,} of {len(shown['images']['path']):,} images cannot be read where they were when "
            f"the bundle was made: their tiles are grey. The first: {shown['why_missing']}"
        )
    given = looked.parts == PARTS.index("given")
    if n := int((given & (looked.labels == UNKNOWN)).sum()):
        notes.append(
            f"{n:,} of {int(given.sum()):,} images lie in no folder that is called like a class: "
            f"they have no label."
        )
    return notes


def _confused(cells: list[dict[str, Any]] | str) -> str:
    if isinstance(cells, str):
        return ""
    n = sum(cell["n"] for cell in cells)
    right = sum(cell["n"] for cell in cells if cell["label"] == cell["predicted"])
    return (
        f"{right:,} of {n:,} images with a known label are classified rightly "
        f"({100 * right / n:.1f} %); training images are not counted."
    )


def _doubtful(found: dict[str, Any] | str) -> str:
    if isinstance(found, str):
        return ""
    shown = len(found["listed"])
    first = f" Here are the {shown} most suspicious." if shown < found["n"] else ""
    if found["from"]:
        n = f"{found['n']:,} images are listed in {found['from']}"
    else:
        n = f"For {found['n']:,} of {found['of']:,} images another class is more probable than "
        n += "their label, by a probe that has not seen them"
    return (
        f"{n}; confident learning calls {found['probable']:,} of these labels probably wrong. The "
        f"more often a model errs, the less that means.{first}"
    )


def _unknown(found: dict[str, Any]) -> str:
    if not found["known"] and not found["others"]:
        return "No image here was kept from training, so there are no distances to compare."
    rule = f"Distance: 1 - cosine to the k-th nearest image of the gallery, k = {found['k']}."
    if found["threshold"] is None:
        return f"{rule} The bundle has no threshold: val is too small for the rate that was asked."
    return (
        f"{rule} The bundle calls an image unknown beyond {found['threshold']:.4f}, chosen so that "
        f"at most {100 * found['false_alarms']:.3g} % of images of known classes are. The slider "
        f"tries other thresholds; the images just beyond are shown."
    )
