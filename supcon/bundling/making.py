"""From a run's result to a bundle: embeds train and val, calibrates on val, writes the files."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from supcon.bundle.fitting import fitted_neighbours, with_temperature
from supcon.bundle.gallery import GALLERY, HELD_OUT, Gallery
from supcon.bundle.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    Neighbours,
    Source,
    Unknown,
    fingerprint,
    write_manifest,
)
from supcon.bundle.nearest import ExactSearch
from supcon.bundle.storing import CONFIG, save_encoder, save_heads
from supcon.bundling.card import write_card
from supcon.bundling.study import Winner
from supcon.config import Config, dump_config
from supcon.evaluation.embedding import Embedded
from supcon.evaluation.trained import Trained, embed_with
from supcon.images.files import ImageFiles
from supcon.images.loading import in_files
from supcon.images.split import Split, Splits
from supcon.intake.pictures import Preprocessing
from supcon.network.models import by_head
from supcon.parsing import UserError, check_is_free

CARD = "MODEL_CARD.md"
PACKAGES = ("supcon-search", "torch", "timm", "numpy", "pillow")
UNKNOWN_K, MOST_K = 1000, 10
"""An image is unknown by its distance to the k-th nearest, k one for so many images of the gallery:
on 976 digits 1 is the best (results/bundle.md), of CIFAR-10's 50,000 images 50 (arXiv:2204.06507).
At most so many, or a class that is added later would need more images than people have."""


@dataclass(frozen=True)
class Choices:
    """What whoever makes a bundle decides."""

    false_alarms: float = 0.05
    """Share of images of known classes that may be called unknown."""
    in_half: bool = False
    """Keep the gallery's embeddings in fp16."""


Finish = Callable[[Path, Manifest], Manifest]
"""Adds files to a bundle's folder, and what is to be said of them to its manifest."""


def as_it_is(_: Path, manifest: Manifest) -> Manifest:
    """Add nothing."""
    return manifest


def make_bundle(
    trained: Trained,
    config: Config,
    data: Splits,
    source: Source,
    choices: Choices,
    out: Path,
    *,
    won: Winner | None = None,
    on_all: Trained | None = None,
    finish: Finish = as_it_is,
) -> Manifest:
    """Write a bundle; nothing is left of one that could not be written whole.

    Args:
        trained: the result of a run.
        config: its config.
        data: its images.
        source: where they come from.
        choices: what is to be decided.
        out: the folder, which must not be there yet.
        won: the run of a study that it is, for the model card.
        on_all: the same configuration trained on train and val, whose weights are kept then; all
            that is calibrated is so by `trained`.
        finish: what else is done to the folder, before it gets its name.

    Raises:
        UserError: it is there, or cannot be written.
    """
    check_is_free(out)
    named = in_files(config.data, data)
    contents = _calibrated(trained, config, data, named, source, choices)
    if on_all is not None:
        contents = _on_all(contents, on_all, config, data, named)
    return _written(contents, config, won, finish, out)


@dataclass(frozen=True)
class Contents:
    """What a bundle is made of."""

    manifest: Manifest
    trained: Trained
    gallery: Gallery
    held_out: Gallery


def _calibrated(
    trained: Trained, config: Config, data: Splits, named: Splits, source: Source, choices: Choices
) -> Contents:
    """A gallery of train, and what is fitted on val; `named` are the images by their files."""
    known, new = (embed_with(trained, config, s.images) for s in (data.train, data.val))
    gallery = _gallery(known, named.train, 0)
    gallery = gallery.in_half() if choices.in_half else gallery
    held_out = _gallery(new, named.val, 1)
    roots = tuple(_root(config, named, part) for part in ("train", "val"))
    manifest = _manifest(trained, config, data, source, choices, roots)
    manifest = _with_temperatures(manifest, trained, config, new, held_out)
    search = ExactSearch(gallery, torch.device("cpu"))
    manifest = fitted_neighbours(manifest, gallery, held_out, search)
    return Contents(manifest, trained, gallery, held_out)


def _on_all(
    first: Contents, trained: Trained, config: Config, data: Splits, named: Splits
) -> Contents:
    """Other weights, which have seen val: a gallery of both, and nothing that was held out."""
    known, new = (embed_with(trained, config, s.images) for s in (data.train, data.val))
    gallery = _gallery(known, named.train, 0).with_more(_gallery(new, named.val, 1))
    is_half = first.gallery.embeddings.dtype == np.float16
    gallery = gallery.in_half() if is_half else gallery
    source = first.manifest.source.model_copy(update={"on": "all"})
    manifest = first.manifest.model_copy(update={"val": None, "source": source})
    nothing = first.held_out.take(np.zeros(len(first.held_out), dtype=np.bool_))
    return Contents(manifest, trained, gallery, nothing)


def _written(
    contents: Contents, config: Config, won: Winner | None, finish: Finish, out: Path
) -> Manifest:
    trained, manifest = contents.trained, contents.manifest
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        save_encoder(trained.network, partial)
        save_heads(trained.network, trained.probe, partial)
        (partial / CONFIG).write_text(dump_config(config), encoding="utf-8")
        contents.gallery.save(partial / GALLERY)
        contents.held_out.save(partial / HELD_OUT)
        card = write_card(manifest, config, len(contents.gallery), won)
        (partial / CARD).write_text(card, encoding="utf-8", errors="replace")
        manifest = finish(partial, manifest)
        write_manifest(with_files(manifest, partial), partial)
        partial.rename(out)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def source_of(
    path: Path, trained: Trained, config: Config, data: Splits, won: Winner | None
) -> Source:
    """Where the weights in a model's file come from."""
    return Source(
        run=path.absolute().parent.name,
        seed=config.run.seed,
        weights=trained.weights,
        epoch=trained.epoch,
        data=data.fingerprint(),
        study=won.summary["study"] if won else None,
        arm=won.arm if won else None,
        commit=won.summary["commit"] if won else None,
    )


def with_files(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with length and hash of every file that there is beside it."""
    files = {
        path.name: fingerprint(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST
    }
    return manifest.model_copy(update={"files": files})


def _manifest(
    trained: Trained,
    config: Config,
    data: Splits,
    source: Source,
    choices: Choices,
    roots: tuple[str, ...],
) -> Manifest:
    _, size, _, channels = data.train.images.shape
    return Manifest(
        format=FORMAT,
        made=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        versions={"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        source=source,
        classes=data.classes,
        gallery_classes=data.classes,
        gallery=GALLERY,
        roots=roots,
        preprocessing=Preprocessing(
            size=size, channels=channels, fit=config.data.fit, background=config.data.background
        ),
        precision=trained.precision,
        val={name.removeprefix("val/"): value for name, value in trained.metrics.items()},
        temperatures={},
        calibration={},
        neighbours=Neighbours(k=config.probe.knn_k, temperature=config.probe.knn_temperature),
        unknown=Unknown(
            k=max(1, min(MOST_K, len(data.train) // UNKNOWN_K)),
            false_alarms=choices.false_alarms,
            threshold=None,
            images=0,
        ),
        files={},
    )


def _with_temperatures(
    manifest: Manifest, trained: Trained, config: Config, new: Embedded, held_out: Gallery
) -> Manifest:
    """Those of the linear classifiers, which a change of the gallery does not touch."""
    labels = torch.from_numpy(held_out.labels).to(new.features.device)
    logits = trained.probe.logits(new.features)
    manifest = with_temperature(manifest, "probe", logits, labels)
    if not config.has_classifier:
        return manifest
    return with_temperature(manifest, "head", by_head(new.outputs, config)[1], labels)


def _gallery(embedded: Embedded, split: Split, root: int) -> Gallery:
    n = len(split)
    return Gallery(
        embedded.features.cpu().numpy(),
        split.labels,
        _names(split),
        np.full(n, root, dtype=np.int64),
        np.zeros(n, dtype=np.bool_),
    )


def _names(split: Split) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """Paths from the split's root; numbers of images that are no files."""
    if isinstance(split.images, ImageFiles):
        return np.array([os.fsdecode(name) for name in split.images.names.tolist()])
    return np.arange(len(split)).astype(np.str_)


def _root(config: Config, named: Splits, part: str) -> str:
    images = (named.train if part == "train" else named.val).images
    return str(images.root) if isinstance(images, ImageFiles) else f"{config.data.name} {part}"
