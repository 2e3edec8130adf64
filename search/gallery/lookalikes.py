"""Test images that the winners take for a training image, though no hash named them.

The hashes of the audit miss crops and shifts. Encoders were trained to overlook these: the training
images nearest by their features are candidates, and one on which the test image lies unusually well
(`supcon.audit.overlap`) may show the same. May: the same is done with images of val, and with
training images that were changed on purpose, and what is named of them is said. By features alone
next to none of the latter stand out. No verdict hangs on it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from search.gallery.judging import ask_later, ask_once, by_judges
from search.judge.sealed import check_same_test
from search.judge.trained_models import Place, SavedModel, ask_model, here
from search.log.events import Compared, LookAlike
from search.log.packed import unpack
from search.log.pictures import pictured
from search.log.study import Study
from search.log.trial import Trial
from supcon.audit.audit import Part
from supcon.audit.overlap import greys, overlap
from supcon.evaluation.knn import nearest
from supcon.evaluation.trained import embed_with
from supcon.images.decoding import Pixels
from supcon.images.loading import find_test, in_files
from supcon.images.split import Split, Splits
from supcon.parsing import Section

LISTED = 24  # pairs, at most
NEIGHBOURS = 10  # candidates of each judge
TRIED = 300  # training images that are changed
REFERENCE = 2000  # images of val, at most
BLOCK = 64  # images that are compared together

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class LookAlikes(Section):
    """Test images that the winners take for one of train, though no hash named them."""

    images: int
    """Of test, that were looked at."""
    found: int
    """That lie unusually well on one of those nearest in features."""
    listed: int
    """At most 24, in lookalikes.csv."""
    tells_nothing: bool
    """Fewer than a tenth of those tried were found: nothing is listed."""
    val_images: int
    val_found: int
    """Of val, that do so too."""
    tried: int
    """Training images that were changed, to see what is found."""
    tried_found: int


def looked_alike(study: Study) -> Compared | None:
    """What is logged of the test images by those that win now."""
    return by_judges(study, study.log.compared)


def add_lookalikes(study: Study, data: Splits, place: Place = here) -> str:
    """Log the test images that look like one of train, unless that is done; why it failed."""
    return ask_once(study, data, study.log.compared, _compared, place)


def lookalikes_later(study: Study) -> str:
    """Likewise for a study that is over: with the images as they are found now."""
    return ask_later(study, study.log.compared, add_lookalikes)


def lookalikes_csv(study: Study) -> str:
    """A row for each pair that is listed, the most alike first."""
    out, found = io.StringIO(), looked_alike(study)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["rank", "test", "test_label", "train", "train_label", "correlation"])
    for rank, pair in enumerate(found.pairs if found else [], start=1):
        sides = [text for side in (pair.test, pair.train) for text in (side.image, side.label)]
        writer.writerow([rank, *sides, pair.correlation])
    return out.getvalue()


def _compared(study: Study, runs: Sequence[Trial], data: Splits, place: Place) -> Compared:
    check_same_test(study, data)
    test, audited = find_test(study.space.config.data), study.log.audited
    sources, some = _spread(len(data.train), TRIED), _spread(len(data.val), REFERENCE)
    tried = Split(changed(data.train.images[sources]), data.train.labels[sources])
    sets = {"test": test, "val": data.val.take(some), "tried": tried}
    found = _best(study, runs, data.train, sets, place)
    least = unusual(found["val"][1], 1 / len(test))
    is_found = {name: correlation > least for name, (_, correlation) in found.items()}
    is_known = unpack(audited.test_in_train, len(test)) if audited else np.zeros(len(test), bool)
    is_found["test"] &= ~is_known
    is_found["tried"] &= found["tried"][0] == sources
    named = np.flatnonzero(is_found["test"])
    source, correlation = found["test"][0][named], found["test"][1][named]
    order = np.argsort(-correlation, kind="stable")[:LISTED]
    compared = Compared(
        judges=[run.ask.key for run in runs],
        n_test=int((~is_known).sum()),
        n_found=len(named),
        least=round(least, 3),
        n_val=len(some),
        n_val_found=int(is_found["val"].sum()),
        n_tried=len(sources),
        n_tried_found=int(is_found["tried"].sum()),
        pairs=[],
    )
    if compared.tells_nothing:
        return compared
    pairs = _pairs(study, data, test, named[order], source[order], correlation[order])
    return compared.model_copy(update={"pairs": pairs})


def _spread(n: int, most: int) -> Indices:
    return np.unique(np.linspace(0, n - 1, min(most, n)).astype(np.int64))


def _best(
    study: Study, runs: Sequence[Trial], bank: Split, sets: dict[str, Split], place: Place
) -> dict[str, tuple[Indices, Floats]]:
    """Name of a set -> (M,) which of the bank each image lies on best, (M,) the correlation."""
    by_run = [ask_model(study, run, place, _candidates, bank, *sets.values()) for run in runs]
    candidates = {name: [found[i] for found in by_run] for i, name in enumerate(sets)}
    ground = torch.cat([greys(bank.images[start]) for start in _blocks(len(bank))])
    found = {}
    for name, each in sets.items():
        places, correlations = torch.cat(candidates[name], dim=1), []
        for start in _blocks(len(each)):
            correlations.append(overlap(greys(each.images[start]), ground[places[start]]))
        highest, which = torch.cat(correlations).max(dim=1)
        found[name] = places.gather(1, which[:, None])[:, 0].numpy(), highest.double().numpy()
    return found


def _candidates(model: SavedModel, bank: Split, *sets: Split) -> list[Tensor]:
    """(M, NEIGHBOURS) of the bank for each of the M images of a set, by a run's features."""
    trained, config = model.load()
    known = embed_with(trained, config, bank.images).features
    own = (embed_with(trained, config, each.images).features for each in sets)
    return [nearest(known, features, NEIGHBOURS).cpu() for features in own]


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]


def unusual(highest: Floats, chance: float) -> float:
    """What a highest of many correlations reaches with this chance, if it is like most of (M,).

    The highest of many is distributed as Gumbel found; his two parameters are those that fit the
    quartiles, which a quarter of copies among the images cannot move.
    """
    low, middle, high = np.quantile(highest, [0.25, 0.5, 0.75])

    def height(share: float) -> float:
        return -math.log(-math.log1p(share - 1))

    scale = (high - low) / (height(0.75) - height(0.25))
    return float(middle + scale * (height(1 - chance) - height(0.5)))


def changed(images: Pixels) -> Pixels:
    """(N, H, W, C): by turns shifted by an eighth, cropped to 3 / 4, shifted and mirrored."""
    out, (height, width) = images.copy(), images.shape[1:3]
    y, x = max(1, height // 8), max(1, width // 8)
    out[:, y:, x:] = images[:, :-y, :-x]  # what is left free repeats the old edge
    out[2::3] = out[2::3, :, ::-1]
    for i in range(1, len(images), 3):
        picture = images[i, ..., 0] if images.shape[3] == 1 else images[i]
        crop = Image.fromarray(picture).crop((x, y, width - x, height - y))
        sized = crop.resize((width, height), Image.Resampling.BICUBIC)
        out[i] = np.asarray(sized).reshape(images.shape[1:])
    return out


def _pairs(
    study: Study, data: Splits, test: Split,
    named: Indices, sources: Indices,
    correlations: Floats,
) -> list[LookAlike]:  # fmt: skip
    train = in_files(study.space.config.data, data).train
    sides = [
        Part(name, each.images, each.labels) for name, each in (("train", train), ("test", test))
    ]
    return [
        LookAlike(
            correlation=round(float(r), 3),
            train=pictured(sides[0], int(j), data.classes),
            test=pictured(sides[1], int(i), data.classes),
        )
        for i, j, r in zip(named, sources, correlations, strict=True)
    ]
