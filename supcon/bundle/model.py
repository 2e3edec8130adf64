"""A bundle in Python: what it says of images.

model = supcon.load("model/")
found = model.predict(["cat.jpg", "dog.png"])
found.names, found.probabilities, found.is_unknown
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supcon.bundle.calibration import probabilities, share_logits
from supcon.bundle.fitting import reach
from supcon.bundle.gallery import Gallery
from supcon.bundle.manifest import Classifier, Manifest, check_files, read_manifest
from supcon.bundle.nearest import ExactSearch, Near, Search, distance, vote
from supcon.bundle.storing import CONFIG, load_network, load_probe
from supcon.config import Config, load_config
from supcon.evaluation.embedding import BATCH, Embedded, embed
from supcon.evaluation.probe import LinearProbe
from supcon.images.decoding import Pixels
from supcon.intake.pictures import AnyImages, as_pixels
from supcon.network.device import pick_device, precision_tools
from supcon.network.models import Network
from supcon.parsing import UserError

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Encoding(Protocol):
    """Features, and where there is one the logits of a head of its own."""

    def __call__(self, pixels: Pixels) -> Embedded:
        """Of (N, S, S, C) images."""
        ...


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
    """(N,) 1 - cosine to the k-th nearest of the gallery, in [0, 2]."""
    is_unknown: npt.NDArray[np.bool_]
    """(N,) the distance is above the threshold: like no class of the gallery."""
    nearest: Near
    """Of each image, as many as voted."""

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
        config: Config,
        encode: Encoding,
        probe: LinearProbe,
        gallery: Gallery,
        search: Search,
    ) -> None:
        """As `load` puts it together."""
        self.manifest, self.config, self.encode, self.probe = manifest, config, encode, probe
        self.gallery, self.search = gallery, search
        self.labels = torch.from_numpy(gallery.labels)

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
            UserError: an image cannot be read.
        """
        pixels = as_pixels(images, self.manifest.preprocessing)
        return self.named(self.search(self.encode(pixels).features, k))

    def judge(self, embedded: Embedded, by: Classifier | None = None) -> Predictions:
        """`predict` of images that were embedded already."""
        by, unknown = self.check(by), self.manifest.unknown
        near = self.search(embedded.features, reach(self.manifest))
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
        match by:
            case "probe":
                return self.probe.logits(embedded.features)
            case "head":
                return embedded.outputs
            case "knn":
                rule, classes = self.manifest.neighbours, len(self.classes)
                votes = vote(near, self.labels, classes=classes, **rule.model_dump())
                return share_logits(votes)

    def check(self, by: Classifier | None) -> Classifier:
        """A classifier that the bundle has.

        Raises:
            UserError: it has another loss than cross entropy, and so no head.
        """
        by = by or self.default
        if by not in self.manifest.temperatures:
            known = ", ".join(self.manifest.temperatures)
            raise UserError(f"--by {by}: this bundle has {known}; only cross entropy has a head")
        return by

    def named(self, near: Near) -> Neighbours:
        """Paths and classes of neighbours."""
        places = near.places.tolist()
        return Neighbours(
            [[self.gallery.path(i, self.manifest.roots) for i in row] for row in places],
            [[self.classes[self.gallery.labels[i]] for i in row] for row in places],
            near.cosines.numpy(),
        )


class TorchEncoding:
    """A network in the precision that it was trained in."""

    def __init__(self, network: Network, device: torch.device, precision: str, *, tf32: bool):
        """`network` is on `device`, in eval mode."""
        self.network, self.device, self.tf32, self.batch_size = network, device, tf32, BATCH
        self.autocast, _ = precision_tools(precision, device)

    def __call__(self, pixels: Pixels) -> Embedded:
        """Likewise; a batch that does not fit into a GPU's memory is halved from then on."""
        torch.backends.cudnn.allow_tf32 = self.tf32
        while True:
            try:
                return embed(
                    self.network,
                    pixels,
                    device=self.device,
                    autocast=self.autocast,
                    batch_size=self.batch_size,
                )
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2


def load(folder: str | Path, device: str = "auto") -> Model:
    """A bundle that `python -m supcon bundle` wrote; each file's hash is compared first.

    Args:
        folder: of the bundle.
        device: auto (a GPU if there is one), cpu or cuda.

    Raises:
        UserError: it is no bundle, or damaged; or there is no such device.
    """
    folder = Path(folder).expanduser()
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    config, where = load_config(folder / CONFIG), pick_device(device)
    classes = len(manifest.classes)
    network = load_network(
        folder, config, image_size=manifest.preprocessing.size, classes=classes
    ).to(where)
    encode = TorchEncoding(network, where, manifest.precision, tf32=config.run.tf32)
    gallery = Gallery.load(folder / manifest.gallery)
    probe = load_probe(folder, classes=classes, device=where)
    return Model(manifest, config, encode, probe, gallery, ExactSearch(gallery, where))


load_model = load


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
