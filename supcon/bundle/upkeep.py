"""Changes of a bundle's gallery: images are added and removed, nothing is trained.

The threshold for unknown images and the temperature of kNN are fitted anew each time. A bundle
changes when its bundle.json is replaced: whatever ends the program before or after, it is whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import torch

from supcon.bundle.fitting import fitted_neighbours
from supcon.bundle.gallery import HELD_OUT, Gallery
from supcon.bundle.manifest import Manifest, fingerprint, read_manifest, write_manifest
from supcon.bundle.model import Model, load, search_in
from supcon.bundle.predictions import Tally, blocks_of
from supcon.intake.inputs import Inputs
from supcon.listing.names import check_class_names, is_foreign
from supcon.parsing import UserError, nearest


@dataclass
class Change:
    """What was done to a gallery."""

    images: int = 0
    """Added or removed."""
    new_classes: tuple[str, ...] = ()
    known: int = 0
    """Images that were there already."""
    tally: Tally = field(default_factory=Tally)


def add_images(folder: Path, images: Path, device: str = "auto") -> tuple[Change, Manifest]:
    """Add images to a bundle's gallery, <class>/* under a folder each.

    Args:
        folder: of the bundle.
        images: holds a folder for each class, known or new.
        device: where they are embedded.

    Raises:
        UserError: the bundle or the folder is none, or no image could be read.
    """
    read_manifest(folder)  # `load` takes an ONNX file, too
    model, root = load(folder, device), images.expanduser().absolute()
    by_class = _classes_below(root, model.classes)
    there = set(model.gallery.where(np.arange(len(model.gallery)), model.manifest.roots))
    change, found = Change(), list[Gallery]()
    classes, roots = list(model.classes), [*model.manifest.roots, str(root)]
    for name, place in by_class.items():
        label = classes.index(name) if name in classes else len(classes)
        paths = list(Inputs([place]))
        fresh = [path for path in paths if str(path) not in there]
        change.known += len(paths) - len(fresh)
        added = _embedded(model, fresh, label, root, len(roots) - 1, change.tally)
        if len(added) and name not in classes:
            classes.append(name)
            change.new_classes += (name,)
        found.append(added)
    gallery = model.gallery
    for each in found:
        gallery = gallery.with_more(each)
    change.images = len(gallery) - len(model.gallery)
    if not change.images:
        raise UserError(
            f"{images}: no image was added ({change.known} were there already, "
            f"{change.tally.unreadable} could not be read)"
        )
    manifest = model.manifest.model_copy(
        update={"gallery_classes": tuple(classes), "roots": tuple(roots)}
    )
    return change, _replaced(folder, manifest, gallery)


def remove_images(
    folder: Path, classes: Collection[str], paths: Iterable[Path]
) -> tuple[Change, Manifest]:
    """Take images out of a bundle's gallery.

    Args:
        folder: of the bundle.
        classes: names of those that go altogether.
        paths: images, and folders of which all goes.

    Raises:
        UserError: there is nothing of that kind, or nothing would be left.
    """
    model = load(folder, "cpu")
    gallery, goes = model.gallery, np.zeros(len(model.gallery), dtype=np.bool_)
    for name in classes:
        if name not in model.classes:
            raise UserError(f"--class {name}: is not in the gallery{nearest(name, model.classes)}")
        goes |= gallery.labels == model.classes.index(name)
    where = gallery.where(np.arange(len(gallery)), model.manifest.roots)
    for path in paths:
        whole = str(path.absolute())
        below = (each == whole or each.startswith(whole + os.sep) for each in where)
        own = np.fromiter(below, dtype=np.bool_, count=len(where))
        if not own.any():
            raise UserError(f"{path}: no image of the gallery is there; `list` shows what is")
        goes |= own
    if goes.sum() >= len(gallery) - 1:
        raise UserError("gallery: at least 2 images must stay; make another bundle instead")
    left, manifest = _without_empty_classes(gallery.take(~goes), model.manifest)
    return Change(images=int(goes.sum())), _replaced(folder, manifest, left)


def _classes_below(root: Path, known: tuple[str, ...]) -> dict[str, Path]:
    """Name of a class -> its folder."""
    if not root.is_dir():
        raise UserError(f"{root}: must be a folder with a folder for each class")
    folders = {p.name: p for p in sorted(root.iterdir()) if p.is_dir() and not is_foreign(p.name)}
    if not folders:
        raise UserError(f"{root}: holds no folder; put the images into one for each class")
    same = {normalize("NFC", name): name for name in known}  # macOS stores é as two characters
    names = {same.get(normalize("NFC", name), name): place for name, place in folders.items()}
    check_class_names(root, [*known, *(name for name in names if name not in known)])
    return names


def _embedded(
    model: Model, paths: list[Path], label: int, root: Path, root_id: int, tally: Tally
) -> Gallery:
    names, features = list[str](), [np.empty((0, model.gallery.embeddings.shape[1]), np.float32)]
    for block in blocks_of(model, paths, tally):
        if len(block.places):
            features.append(model.encode(block.pixels).features.cpu().numpy())
            names += [os.path.relpath(block.paths[i], root) for i in block.places.tolist()]
    n = len(names)
    return Gallery(
        np.concatenate(features),
        np.full(n, label, dtype=np.int64),
        np.array(names, dtype=np.str_),
        np.full(n, root_id, dtype=np.int64),
        np.ones(n, dtype=np.bool_),
    )


def _without_empty_classes(gallery: Gallery, manifest: Manifest) -> tuple[Gallery, Manifest]:
    """Without those added classes that have no image any more; trained ones keep their place."""
    trained, labels = len(manifest.classes), gallery.labels.copy()
    kept = [i for i in range(len(manifest.gallery_classes)) if i < trained or (labels == i).any()]
    place: npt.NDArray[np.int64] = np.full(len(manifest.gallery_classes), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    names = tuple(manifest.gallery_classes[i] for i in kept)
    fields = {**gallery.__dict__, "labels": place[labels]}
    return Gallery(**fields), manifest.model_copy(update={"gallery_classes": names})


def _replaced(folder: Path, manifest: Manifest, gallery: Gallery) -> Manifest:
    """Write the new gallery beside the old one, and let the manifest name it instead.

    Neighbours are looked for as the next `load` will: an index that this needs is kept for it.
    """
    old, new = manifest.gallery, _next_name(manifest.gallery)
    try:
        gallery.save(folder / new)
        files = {name: file for name, file in manifest.files.items() if name != old}
        files[new] = fingerprint(folder / new)
        manifest = manifest.model_copy(update={"gallery": new, "files": files})
        search, held_out = search_in(gallery, manifest, torch.device("cpu")), folder / HELD_OUT
        manifest = fitted_neighbours(manifest, gallery, Gallery.load(held_out), search)
        write_manifest(manifest, folder)
        (folder / old).unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error})") from error
    return manifest


def _next_name(name: str) -> str:
    """`gallery-2.npz` after `gallery.npz`."""
    found = re.search(r"-(\d+)", name)
    return f"gallery-{int(found[1]) + 1 if found else 2}.npz"
