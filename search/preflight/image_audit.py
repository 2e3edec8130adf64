"""The images looked over before a study: what is printed, logged, and written beside the log.

No image is scored: files and hashes are compared, and the test images stay sealed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from search.log.events import Audited, Copies
from search.log.packed import pack
from search.log.pictures import pictured
from search.log.study import Study
from supcon.audit.audit import ImageAudit, Part, audit
from supcon.audit.findings import describe
from supcon.config import DataConfig
from supcon.images.loading import find_test, find_unknown, in_files
from supcon.images.split import Splits
from supcon.listing.names import TEST, TRAIN, UNKNOWN, VAL

PICTURED = 12  # pairs whose pictures are logged


def audit_once(study: Study, data: Splits) -> list[str]:
    """Look the images of a study over, if that is not in its log yet; what is printed of it.

    Raises:
        UserError: a file cannot be read, or is no image.
        OSError: audit.csv cannot be written.
    """
    if study.log.audited is not None:
        return []
    found = look_over(study.space.config.data, data)
    new = study.folder.audit.with_suffix(".new")
    new.write_text(audit_csv(found, data.classes), encoding="utf-8")
    new.replace(study.folder.audit)
    study.log.append(audited(found, data.classes))
    return audit_lines(found)


def look_over(config: DataConfig, data: Splits) -> ImageAudit:
    """All images of a study, those of test and of unknown classes among them.

    Args:
        config: which images.
        data: train and val, as loaded.

    Raises:
        UserError: a file cannot be read, or is no image.
    """
    test, data = find_test(config), in_files(config, data)
    parts = {TRAIN: data.train, VAL: data.val, TEST: test}
    found = [Part(name, each.images, each.labels, each.groups) for name, each in parts.items()]
    if (unknown := find_unknown(config)) is not None:
        found.append(Part(UNKNOWN, unknown.images, unknown.labels))
    return audit(found)


def audit_lines(found: ImageAudit) -> list[str]:
    """What is printed of it: a line, or one for each thing that was found."""
    lines = describe(found.looks, found.twins)
    n = sum(looks.images for looks in found.looks)
    if not lines:
        return [f"audit     {n:,} images looked over: no copies, no empty pictures"]
    return [f"audit     {lines[0]}", *(f"{'':10s}{line}" for line in lines[1:])]


def audited(found: ImageAudit, classes: Sequence[str]) -> Audited:
    """The event that the images were looked over."""
    return Audited(
        looks=found.looks,
        twins=found.twins,
        n_test=len(found.has_twin[TEST, TRAIN]),
        test_in_train=pack(found.has_twin[TEST, TRAIN]),
        test_in_val=pack(found.has_twin[TEST, VAL]),
        copies=_worst(found, classes),
    )


def audit_csv(found: ImageAudit, classes: Sequence[str]) -> str:
    """audit.csv: a row for each pair."""
    text, names = io.StringIO(), _names(classes)
    rows = csv.writer(text, lineterminator="\n")
    sides = [f"{what}_{side}" for side in (1, 2) for what in ("part", "image", "label")]
    rows.writerow(["kind", *sides, "difference", "correlation"])
    for pair in found.pairs:
        shown = []
        for i in (pair["first"], pair["second"]):
            part, place = found.place(int(i))
            shown += [part.name, part.name_of(place), names[part.labels[place]]]
        numbers = [f"{pair['difference']:.2f}", f"{pair['correlation']:.3f}"]
        rows.writerow([_kind(pair), *shown, *numbers])
    return text.getvalue()


def _names(classes: Sequence[str]) -> list[str]:
    """Names by label; that of unknown images, -1, is the last one."""
    return [*classes, UNKNOWN]


def _kind(pair: np.void) -> str:
    if pair["is_mirrored"]:
        return "mirrored"
    return "near" if pair["difference"] > 0 or pair["correlation"] < 1 else "equal"


def _worst(found: ImageAudit, classes: Sequence[str]) -> list[Copies]:
    """Pairs across parts first, of other labels, then the most doubtful ones; with pictures."""
    order, names = np.lexsort(_badness(found))[:PICTURED], _names(classes)
    return [
        Copies(
            kind=_kind(pair),
            difference=round(float(pair["difference"]), 2),
            first=pictured(*found.place(int(pair["first"])), names),
            second=pictured(*found.place(int(pair["second"])), names),
        )
        for pair in found.pairs[order]
    ]


def _badness(found: ImageAudit) -> tuple[npt.NDArray[np.float64], ...]:
    """Keys of which the last counts most; the least is the worst."""
    ends = np.cumsum([len(part.labels) for part in found.parts])
    labels = np.concatenate([part.labels for part in found.parts])
    first, second = found.pairs["first"], found.pairs["second"]
    a, b = (np.searchsorted(ends, i, side="right") for i in (first, second))
    # Test in train, test in val, val in train; unknown ones in each; then copies within a part.
    rank = np.where(a == b, 10.0, np.array([0.0, 3.0, 0.0, 6.0])[b] + a)
    return -found.pairs["difference"], (labels[first] == labels[second]).astype(float), rank
