"""bundle.json: what a bundle holds, where it comes from, and the hash of each of its files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat

from supcon.intake.pictures import Preprocessing
from supcon.parsing import Section, UserError, is_there, parse

MANIFEST = "bundle.json"
FORMAT = 1
LARGEST = 50_000_000  # bytes of a manifest that is read

Linear = Literal["probe", "head"]
Classifier = Literal["probe", "knn", "head"]
MAKE_AGAIN = "make the bundle again"


class Neighbours(Section):
    """How neighbours vote."""

    k: int = Field(ge=1)
    """So many vote."""
    temperature: float = Field(gt=0)
    """With weight exp(cosine / temperature)."""


class Unknown(Section):
    """When an image is like none of the gallery: by its distance to the k-th nearest of it."""

    k: int = Field(ge=1)
    false_alarms: float = Field(gt=0, lt=1)
    """The share of images of known classes that may be called unknown."""
    threshold: float | None
    """Distance (1 - cosine, 0 to 2) above which an image is; null: too few images for the rate."""
    images: int
    """That it was chosen on: val, and those added to the gallery, each without itself."""


class Calibrated(Section):
    """What a temperature changes of a classifier on val."""

    nll_before: float
    nll: float
    """Mean negative log-likelihood, nats an image."""
    error_before: float
    error: float
    """Expected calibration error, a share of 1 (`calibration_error`)."""


class Source(Section):
    """Where the weights come from."""

    run: str
    """Name of the run's folder."""
    seed: int
    weights: str
    """raw, ema or swa."""
    epoch: int
    data: str
    """Fingerprint of train and val."""
    on: Literal["train", "all"] = "train"
    """all: trained once more, on train and val; temperatures and threshold are those of `run`."""
    study: str | None = None
    arm: str | None = None
    commit: str | None = None
    """That the study was begun with."""


class OnnxFile(Section):
    """How model.onnx compares with the network in torch, both in fp32 on a CPU."""

    opset: int
    images: int
    """Of val, that both were shown, alone and several at once."""
    tolerance: float
    """A difference above it is refused."""
    differences: dict[str, float]
    """Output -> the largest one on an image: of probabilities, else by the length of the vector."""
    other_labels: int
    """Images of these that the bundle's own precision gives another class."""


class File(Section):
    """A file of the bundle."""

    sha256: str
    bytes: int


class Manifest(Section):
    """All that a bundle says of itself."""

    format: int
    made: str
    """When, in UTC."""
    versions: dict[str, str]
    """Python and packages that it was made with."""
    source: Source
    classes: tuple[str, ...] = Field(min_length=2)
    """Those that probe and head know, by their index."""
    gallery_classes: tuple[str, ...]
    """The same, and those that were added to the gallery since."""
    gallery: str = Field(pattern=r"^gallery(-\d+)?\.npz$")
    """The file that holds it."""
    roots: tuple[str, ...]
    """Folders that the gallery's names start at."""
    preprocessing: Preprocessing
    precision: Literal["fp32", "bf16", "fp16"]
    """That the run computed in, and its bundle does."""
    val: dict[str, float] | None
    """Scores on val; null: it was trained on."""
    temperatures: dict[Classifier, PositiveFloat]
    """Logits are divided by it before their softmax; fitted on val."""
    calibration: dict[Classifier, Calibrated]
    """What that changed on val, when the bundle was made."""
    neighbours: Neighbours
    unknown: Unknown
    onnx: OnnxFile | None = None
    """null: there is no model.onnx."""
    files: dict[str, File]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle; no other file is looked at.

    Raises:
        UserError: there is none, it is damaged, or of another version of the program.
    """
    path = folder / MANIFEST
    if not is_there(path):
        raise UserError(
            f"{folder}: is no bundle (without {MANIFEST}); make one with: python -m supcon bundle "
            f"RUN --out {folder}"
        )
    try:
        with path.open("rb") as file:
            tree = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); {MAKE_AGAIN}") from None
    return as_manifest(tree, str(path), f"{MAKE_AGAIN} with this version")


def as_manifest(tree: Any, source: str, way_out: str) -> Manifest:
    """A manifest of plain values.

    Args:
        tree: what JSON gave.
        source: what it came from; opens the message.
        way_out: ends the message.

    Raises:
        UserError: it is damaged, or of another version of the program.
    """
    found = tree.get("format") if isinstance(tree, dict) else None
    if found != FORMAT:
        raise UserError(f"{source}: format must be {FORMAT}, got {found!r:.50}; {way_out}")
    return parse(Manifest, tree, source)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write bundle.json; from then on the bundle is what it says.

    Raises:
        OSError: it cannot be written.
    """
    partial = folder / f"{MANIFEST}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)


def check_files(folder: Path, manifest: Manifest, only: Container[str] | None = None) -> None:
    """Compare length and hash of files of a bundle, before any of them is read.

    Args:
        folder: of the bundle.
        manifest: says what they were.
        only: names of those that are needed; None: all.

    Raises:
        UserError: one is missing, or is not what was written.
    """
    for name, written in manifest.files.items():
        if only is not None and name not in only:
            continue
        path = folder / name
        if path.name != name or not is_there(path):
            raise UserError(f"{path}: is missing; put it back, or {MAKE_AGAIN}")
        if fingerprint(path) != written:
            raise UserError(
                f"{path}: is not what the bundle was made with (its hash differs from that in "
                f"{MANIFEST}): damaged or exchanged; {MAKE_AGAIN}"
            )


def fingerprint(path: Path) -> File:
    """Length and hash of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            return File(sha256=found, bytes=file.tell())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
