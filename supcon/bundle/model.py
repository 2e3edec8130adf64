"""A bundle in Python: what it says of images.

model = supcon.load("model/")
found = model.predict(["cat.jpg", "dog.png"])
found.names, found.probabilities, found.is_unknown
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supcon.bundle.encoding import Encoding, OnnxEncoding, TorchEncoding
from supcon.bundle.fitting import reach
from supcon.bundle.gallery import Gallery
from supcon.bundle.index import search_of
from supcon.bundle.manifest import MANIFEST, Classifier, Manifest, check_files, read_manifest
from supcon.bundle.nearest import ExactSearch, Near, Search, distance, vote
from supcon.bundle.storing import CONFIG, load_network, load_probe
from supcon.config import Config, load_config
from supcon.evaluation.embedding import Embedded
from supcon.intake.pictures import AnyImages, as_pixels
from supcon.network.device import pick_device
from supcon.parsing import UserError, is_there
from supcon.reliability.calibration import probabilities, share_logits

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbours:
    """The nearest images of the gallery to N images, the nearest first."""

    paths: list[list[Path]]
    """(N, k)."""
    names: list[list[str]]
    """(N, k) their classes."""
    similarities: Floats
    """(N, k) cosines in [-1, 1]."""


@dataclass(frozen=True)
class Predictions:
    """What is said of N images."""

    classes: tuple[str, ...]
    """(K,) names."""
    ids: Ids
    """(N,) the most probable class of each, an index into `classes`."""
    probabilities: Floats
    """(N, K), calibrated on images that were not trained on."""
    distances: Floats
    """(N,) 1 - cosine to the k-th nearest of the gallery, in [0, 2]; NaN without a gallery."""
    is_unknown: npt.NDArray[np.bool_]
    """(N,) the distance is above the threshold: like no class of the gallery."""
    nearest: Near
    """Of each image, as many as decided: those that voted, or told whether it is unknown."""

    @property
    def names(self) -> list[str]:
        """(N,) of the most probable classes."""
        return [self.classes[i] for i in self.ids.tolist()]

    @property
    def sureness(self) -> Floats:
        """(N,) probabilities of these."""
        return np.take_along_axis(self.probabilities, self.ids[:, None], axis=1)[:, 0]


class Model:
    """A bundle, ready for images: paths, PIL images, arrays (H, W, C) or tensors (C, H, W)."""

    def __init__(
        self,
        manifest: Manifest,
        config: Config | None,
        encode: Encoding,
        gallery: Gallery,
        search: Search,
    ) -> None:
        """As `load` puts it together; a lone ONNX file has no config, and no gallery."""
        self.manifest, self._config, self.encode = manifest, config, encode
        self.gallery, self.search = gallery, search
        self.labels = torch.from_numpy(gallery.labels)

    @property
    def config(self) -> Config:
        """That it was trained with.

        Raises:
            UserError: it is a lone ONNX file, which does not say it.
        """
        if self._config is None:
            raise UserError("MODEL: does not say how it was trained; use a bundle")
        return self._config

    @property
    def classes(self) -> tuple[str, ...]:
        """All that it can name: those it was trained on, and those of the gallery alone."""
        return self.manifest.gallery_classes

    @property
    def default(self) -> Classifier:
        """The probe; kNN, where the gallery has classes that the probe does not know."""
        return "probe" if self.manifest.gallery_classes == self.manifest.classes else "knn"

    def predict(self, images: AnyImages, by: Classifier | None = None) -> Predictions:
        """Classes, calibrated probabilities, and whether an image is like none that are known.

        Args:
            images: one or several.
            by: probe (linear, on frozen features), knn (vote of the gallery) or head (cross
                entropy's own); default: probe, or knn where classes were added.

        Raises:
            UserError: an image cannot be read, or the bundle has no such classifier.
        """
        return self.judge(self.encode(as_pixels(images, self.manifest.preprocessing)), by)

    def embed(self, images: AnyImages) -> Floats:
        """(N, D) encoder features, not normalised; compare them by cosine.

        Raises:
            UserError: an image cannot be read.
        """
        pixels = as_pixels(images, self.manifest.preprocessing)
        return self.encode(pixels).features.cpu().numpy()

    def neighbours(self, images: AnyImages, k: int = 10) -> Neighbours:
        """The k images of the gallery that are nearest to each.

        Raises:
            UserError: an image cannot be read, or there is no gallery.
        """
        self.check_gallery()
        pixels = as_pixels(images, self.manifest.preprocessing)
        return self.named(self.search(self.encode(pixels).features, k))

    def judge(self, embedded: Embedded, by: Classifier | None = None) -> Predictions:
        """`predict` of images that were embedded already."""
        by, unknown = self.check(by), self.manifest.unknown
        k = reach(self.manifest) if by == "knn" else unknown.k
        near = self.search(embedded.features, k)
        logits = self.logits(embedded, near, by)
        far = distance(near, unknown.k).numpy()
        limit = np.inf if unknown.threshold is None else unknown.threshold
        return Predictions(
            classes=self.classes if by == "knn" else self.manifest.classes,
            ids=logits.argmax(1).cpu().numpy(),
            probabilities=_shares(logits, self.manifest.temperatures[by]),
            distances=far,
            is_unknown=far > limit,
            nearest=near,
        )

    def logits(self, embedded: Embedded, near: Near, by: Classifier) -> Tensor:
        """(N, K) of a classifier, before its temperature."""
        if by != "knn":
            return self.encode.logits(embedded, by)
        rule, classes = self.manifest.neighbours, len(self.classes)
        return share_logits(vote(near, self.labels, classes=classes, **rule.model_dump()))

    def check(self, by: Classifier | None) -> Classifier:
        """A classifier that the bundle has.

        Raises:
            UserError: it has another loss than cross entropy, and so no head; or no gallery.
        """
        by = by or self.default
        if by not in self.manifest.temperatures:
            known = ", ".join(self.manifest.temperatures)
            why = "without a gallery none vote" if by == "knn" else "only cross entropy has a head"
            raise UserError(f"--by {by}: this bundle has {known}; {why}")
        return by

    def check_gallery(self) -> None:
        """Whether there are images to compare with.

        Raises:
            UserError: there are none.
        """
        if not len(self.gallery):
            raise UserError("MODEL: has no gallery to compare with; use a bundle")

    def named(self, near: Near) -> Neighbours:
        """Paths and classes of neighbours."""
        roots, places = self.manifest.roots, near.places.numpy()
        return Neighbours(
            [[Path(path) for path in self.gallery.where(row, roots)] for row in places],
            [[self.classes[i] for i in self.gallery.labels[row].tolist()] for row in places],
            near.cosines.numpy(),
        )


def load(path: str | Path, device: str = "auto") -> Model:
    """A bundle that `python -m supcon bundle` wrote; each file's hash is compared first.

    Args:
        path: of the bundle's folder, or of an ONNX file: that of a bundle, whose gallery is used,
            or one by itself, which knows its classes only.
        device: auto (a GPU if there is one), cpu or cuda; ONNX is computed on the CPU.

    Raises:
        UserError: it is no bundle, or damaged; or there is no such device.
    """
    path = Path(path).expanduser()
    return _load_onnx(path, device) if path.suffix.lower() == ".onnx" else _load(path, device)


def _load(folder: Path, device: str) -> Model:
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    config, where = load_config(folder / CONFIG), pick_device(device)
    classes = len(manifest.classes)
    network = load_network(
        folder, config, image_size=manifest.preprocessing.size, classes=classes
    ).to(where)
    probe = load_probe(folder, classes=classes, device=where)
    encode = TorchEncoding(network, probe, where, manifest.precision, tf32=config.run.tf32)
    gallery = Gallery.load(folder / manifest.gallery)
    return Model(manifest, config, encode, gallery, search_in(gallery, manifest, where))


def _load_onnx(file: Path, device: str) -> Model:
    if device == "cuda":
        raise UserError(f"--device cuda: {file} is computed on the CPU; use the bundle's folder")
    folder, cpu = file.parent, torch.device("cpu")
    manifest = read_manifest(folder) if is_there(folder / MANIFEST) else None
    if manifest is None or file.name not in manifest.files:
        encode = OnnxEncoding(file)
        gallery = Gallery.empty(encode.dim)
        return Model(encode.manifest, None, encode, gallery, ExactSearch(gallery, cpu))
    check_files(folder, manifest, (file.name, manifest.gallery, CONFIG))
    gallery, config = Gallery.load(folder / manifest.gallery), load_config(folder / CONFIG)
    return Model(manifest, config, OnnxEncoding(file), gallery, search_in(gallery, manifest, cpu))


def search_in(gallery: Gallery, manifest: Manifest, device: torch.device) -> Search:
    """What finds neighbours in the gallery of a bundle, whose file the manifest names."""
    sha256 = manifest.files[manifest.gallery].sha256
    return search_of(gallery, device, k=reach(manifest), sha256=sha256)


def _shares(logits: Tensor, temperature: float) -> Floats:
    return probabilities(logits, temperature).cpu().numpy().astype(np.float32)


def top(predictions: Predictions, n: int) -> list[Sequence[tuple[str, float]]]:
    """Of each image the n most probable classes and their probabilities, the first one first."""
    order = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :n]
    order[:, 0] = predictions.ids  # equal after rounding
    shares = np.take_along_axis(predictions.probabilities, order, axis=1)
    return [
        [(predictions.classes[i], p) for i, p in zip(ids, row, strict=True)]
        for ids, row in zip(order.tolist(), shares.tolist(), strict=True)
    ]
