"""What lies at a path: how it is read, and what its images are like."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from supcon.config import Config, DataConfig
from supcon.images.loading import check_test, check_unknown, load_splits
from supcon.images.sources import absolute, find_images, list_images
from supcon.images.split import Splits
from supcon.listing.listing import Listing
from supcon.listing.names import TEST, TRAIN, VAL
from supcon.listing.table import column_names
from supcon.parsing import UserError, parse

AUDIT_SIZE = 32  # pixels; in it images are told apart, whatever size they are trained in
LOOKED_AT = 2000  # images whose headers tell sizes and formats
SHOWN_CLASSES = 20
TABLES = (".csv", ".tsv", ".parquet")
COLUMNS = {
    "path_column": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "label_column": ("label", "class", "target", "category", "y", "label_name", "class_name"),
    "split_column": ("split", "set", "subset", "partition"),
    "group_column": ("group", "patient", "patient_id", "subject", "subject_id", "video", "camera"),
}
"""Names that columns of tables often have, the default first."""


@dataclass(frozen=True)
class Survey:
    """Images of somebody's own, as they were found."""

    settings: Mapping[str, Any]
    """Of `data`: those by which they are found again."""
    listing: Listing
    """All of them, each in its part."""
    sides: npt.NDArray[np.int64]
    """(n, 2) width and height in pixels of those whose header was looked at."""
    formats: Mapping[str, int]
    """Likewise, by format."""
    given: frozenset[str]
    """Which of val and test come with them; the others are split off."""
    unknown: tuple[str, ...] = ()
    """A phrase for each place that images of unknown classes come from."""

    @property
    def n_train(self) -> int:
        """Images that train."""
        return int((self.listing.parts == TRAIN).sum())

    @property
    def imbalance(self) -> float:
        """Images of the largest class by those of the smallest, in train."""
        return float(self._in_train.max() / self._in_train.min())

    @property
    def side(self) -> int:
        """Median of the images' shorter sides."""
        return int(np.median(self.sides.min(axis=1)))

    @property
    def _in_train(self) -> npt.NDArray[np.intp]:
        labels = self.listing.labels[self.listing.parts == TRAIN]
        return np.bincount(labels, minlength=len(self.listing.classes))


def way_in(path: Path) -> dict[str, Any]:
    """The settings of `data` that read what lies at a path.

    Raises:
        UserError: nothing does.
    """
    path = path.expanduser().absolute()
    if path.is_dir():
        markers = ("dataset_dict.json", "dataset_info.json")
        is_saved = any((path / name).is_file() for name in markers)
        return {"name": "huggingface" if is_saved else "folder", "root": str(path)}
    if not path.is_file() or path.suffix.lower() not in TABLES:
        raise UserError(
            f"--init {path}: must be a folder of images, a table of them ({', '.join(TABLES)}), or "
            f"what save_to_disk of Hugging Face's datasets wrote"
            f"{'' if path.exists() else '; there is nothing'}"
        )
    return {"name": "table", "root": str(path)} | _columns(path)


def _columns(table: Path) -> dict[str, str]:
    """The keys of columns whose name is not the default one, but a usual one."""
    there = column_names(table)
    found = {}
    for key, usual in COLUMNS.items():
        name = next((name for name in usual if name in there), usual[0])
        if name != usual[0]:
            found[key] = name
    return found


def survey(path: Path, given: Mapping[str, Any] | None = None) -> tuple[Survey, Splits]:
    """Look at what lies at a path; broken images are left out, and said.

    Args:
        path: a folder, a table, or a saved data set.
        given: settings of `data` that are known.

    Returns:
        What was found, and train and val in a size that costs little.

    Raises:
        UserError: it cannot be read, or is too little to train, to choose and to test.
    """
    settings = way_in(path) | dict(given or {})
    config = data_config(settings)
    data, left = load_splits(config), check_test(config)
    if config.unknown is not None:
        settings["unknown"] = str(absolute(config.unknown, "data.unknown"))
    unknown, broken = check_unknown(config)
    broken = (*data.left_out.broken, *left.broken, *broken)
    if broken:
        settings["broken"] = "skip"
    there = frozenset({VAL, TEST} & set(find_images(config).parts.tolist()))
    listing = list_images(config, broken=broken)
    listing = replace(listing, left_out=replace(left, broken=broken))
    return Survey(settings, listing, *headers(listing), there, unknown), data


def data_config(settings: Mapping[str, Any], **changes: Any) -> DataConfig:
    """The `data` section with these settings; broken images are left out."""
    tree = {"image_size": AUDIT_SIZE, "broken": "skip", **settings, **changes}
    return parse(Config, {"data": tree}, "--init").data


def headers(listing: Listing) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    """Sizes (n, 2) and formats of images, of some out of all if they are many."""
    used = np.flatnonzero(np.isin(listing.parts, (TRAIN, VAL, TEST)))
    some = np.random.default_rng(0).permutation(used)[:LOOKED_AT]
    sides, formats = list[tuple[int, int]](), Counter[str]()
    for i in some.tolist():
        with Image.open(io.BytesIO(listing.reader.read(listing.path(i)))) as image:
            sides.append(image.size)
            formats[image.format or "unknown"] += 1
    return np.array(sides, dtype=np.int64), dict(formats.most_common())


def describe(found: Survey) -> list[str]:
    """What was found, for a person."""
    listing, made = found.listing, [part for part in (TEST, VAL) if part not in found.given]
    n = {part: int((listing.parts == part).sum()) for part in (TRAIN, VAL, TEST)}
    split = f"; {' and '.join(made)} are split off" if made else ""
    width, height = np.median(found.sides, axis=0).astype(int).tolist()
    is_same = (found.sides == found.sides[0]).all()
    looked_at = "" if len(found.sides) == sum(n.values()) else f" (of {len(found.sides):,} images)"
    formats = ", ".join(f"{name} {count:,}" for name, count in found.formats.items())
    groups = f", in {len(listing.group_names):,} groups" if listing.groups is not None else ""
    return [
        f"found     {found.settings['name']} {found.settings['root']}: {sum(n.values()):,} images "
        f"of {len(listing.classes)} classes{groups}",
        f"parts     train {n[TRAIN]:,}, val {n[VAL]:,}, test {n[TEST]:,}{split}",
        f"sizes     {'all' if is_same else 'median'} {width}x{height} pixels{looked_at}; {formats}",
        f"classes   the largest has {found.imbalance:.1f} times the images of the smallest",
        *(f"unknown   {phrase}; sealed like test" for phrase in found.unknown),
        *(f"left out  {phrase}" for phrase in listing.left_out.describe()),
        *_class_table(listing),
    ]


def _class_table(listing: Listing) -> list[str]:
    """Images of each class by part; the largest and the smallest of many."""
    rows = sorted(
        zip(listing.classes, listing.counts(), strict=True), key=lambda row: -row[1].get(TRAIN, 0)
    )
    half = SHOWN_CLASSES // 2
    shown: Sequence[Any] = rows if len(rows) <= SHOWN_CLASSES else [*rows[:half], *rows[-half:]]
    lines = [f"{'':10s}{'class':24s}{TRAIN:>8s}{VAL:>8s}{TEST:>8s}"]
    for i, (name, counts) in enumerate(shown):
        if i == half < len(rows) - half:
            lines.append(f"{'':10s}{f'{len(rows) - 2 * half} more':24s}")
        numbers = "".join(f"{counts.get(part, 0):8,d}" for part in (TRAIN, VAL, TEST))
        lines.append(f"{'':10s}{name:24.24s}{numbers}")
    return lines
