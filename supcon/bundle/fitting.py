"""What a bundle fits on images that no weight was trained on: val, and what was added since.

An added image is looked up among all the others: the encoder was not trained on it either.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from supcon.bundle.gallery import Gallery
from supcon.bundle.manifest import Calibrated, Classifier, Manifest
from supcon.bundle.nearest import TIES, Near, Search, distance, vote
from supcon.reliability.calibration import (
    calibration_error,
    fit_temperature,
    nll,
    probabilities,
    share_logits,
)
from supcon.reliability.unknown import threshold_for


def fitted_neighbours(
    manifest: Manifest, gallery: Gallery, held_out: Gallery, search: Search
) -> Manifest:
    """The manifest with the temperature of kNN and the threshold that this gallery needs.

    Args:
        manifest: says how many neighbours vote, and which share of false alarms is wanted.
        gallery: among which neighbours are looked for.
        held_out: val.
        search: of the gallery.
    """
    if manifest.source.on == "all":
        return manifest  # nothing was held out: all is as the run on train alone had it
    near, labels = _near_of_held_out(manifest, gallery, held_out, search)
    bank, classes = torch.from_numpy(gallery.labels), len(manifest.gallery_classes)
    votes = vote(near, bank, classes=classes, **manifest.neighbours.model_dump())
    far = distance(near, manifest.unknown.k).double().numpy()
    found = {"threshold": threshold_for(far, manifest.unknown.false_alarms), "images": len(far)}
    fitted = with_temperature(manifest, "knn", share_logits(votes), labels)
    return fitted.model_copy(update={"unknown": manifest.unknown.model_copy(update=found)})


def with_temperature(
    manifest: Manifest, by: Classifier, logits: Tensor, labels: Tensor
) -> Manifest:
    """The manifest with the temperature that fits (M, K) logits of held-out images best."""
    temperature = fit_temperature(logits, labels)
    logits, labels = logits.cpu(), labels.cpu()
    before, after = (probabilities(logits, t) for t in (1.0, temperature))
    changed = Calibrated(
        nll_before=nll(logits, labels),
        nll=nll(logits, labels, temperature),
        error_before=calibration_error(before.numpy(), labels.numpy()),
        error=calibration_error(after.numpy(), labels.numpy()),
    )
    return manifest.model_copy(
        update={
            "temperatures": manifest.temperatures | {by: temperature},
            "calibration": manifest.calibration | {by: changed},
        }
    )


def reach(manifest: Manifest) -> int:
    """How many neighbours it takes to vote, and to tell what is unknown."""
    return max(manifest.neighbours.k, manifest.unknown.k) + TIES


def _near_of_held_out(
    manifest: Manifest, gallery: Gallery, held_out: Gallery, search: Search
) -> tuple[Near, Tensor]:
    """Neighbours of val and of the added images, the latter without themselves, and the labels."""
    k = max(1, min(reach(manifest), len(gallery) - 1))
    held_out = held_out.take(np.isin(held_out.labels, gallery.labels))  # others are unknown
    near = search(torch.from_numpy(held_out.embeddings), k)
    added = gallery.take(gallery.is_added)
    own = torch.from_numpy(np.flatnonzero(gallery.is_added))
    others = search(torch.from_numpy(added.embeddings), k + 1).without(own)
    labels = torch.from_numpy(np.concatenate([held_out.labels, added.labels]))
    both = (torch.cat(pair) for pair in zip(near, others, strict=True))
    return Near(*both), labels
