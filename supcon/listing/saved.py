"""Data sets of Hugging Face's `datasets`, saved to disk; their pictures stay in the Arrow files.

Row 17 of split train is called `train/17`, as if it were a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from supcon.config import DataConfig
from supcon.listing.listing import LeftOut, Listing
from supcon.listing.names import NONE, PART_NAMES, TRAIN, check_class_names
from supcon.parsing import UserError


class Rows:
    """Reads the encoded pictures of a saved data set, as if each were a file under its root."""

    def __init__(self, root: Path, splits: dict[str, Any], column: str) -> None:
        """`splits` are data sets by name, `column` holds their pictures."""
        from datasets import Image

        self.root, self.column = root, column
        encoded = Image(decode=False)
        self.splits = {
            name: split.select_columns([column]).cast_column(column, encoded)
            for name, split in splits.items()
        }

    def read(self, path: Path) -> bytes:
        """The content of the picture that is called so.

        Raises:
            OSError: the data set refers to a file that cannot be read.
        """
        split = "" if path.parent == self.root else path.parent.name
        found = self.splits[split][int(path.name)][self.column]
        content: bytes = found["bytes"] or Path(found["path"]).read_bytes()
        return content

    def length(self, path: Path) -> int:
        """Its bytes."""
        return len(self.read(path))


def list_saved(root: Path, config: DataConfig) -> Listing:
    """All images of a data set that `save_to_disk` wrote; classes in the order of its ClassLabel.

    A data set whose only split is train, or without splits, has no parts yet.

    Args:
        root: the folder that it was saved to.
        config: names of the columns, where the data set leaves it open which is meant.

    Raises:
        UserError: there is none, its columns are not known, or two splits could be one part.
    """
    whole = _load(root)
    parts = {name: PART_NAMES.get(name.lower(), NONE) for name in whole}
    known = sorted(part for part in parts.values() if part)
    if twice := [part for part in set(known) if known.count(part) > 1]:
        names = [name for name, part in parts.items() if part == twice[0]]
        raise UserError(f"{root}: {' and '.join(names)} could each be {twice[0]}; keep one of them")
    if known and TRAIN not in known:
        raise UserError(f"data.root: {root} has no split train; it has {', '.join(whole)}")
    used = {name: split for name, split in whole.items() if parts[name] or not known}
    features = next(iter(used.values())).features
    label = _column(root, features, "ClassLabel", config.label_column, "data.label_column")
    picture = _column(root, features, "Image", config.path_column, "data.path_column")
    classes = tuple(features[label].names)
    check_class_names(root, classes)
    labels = np.concatenate([np.array(split[label], dtype=np.int64) for split in used.values()])
    if (labels < 0).any():
        raise UserError(f"{root}: {int((labels < 0).sum())} image(s) have no label in '{label}'")
    is_whole = known in ([], [TRAIN])
    names = [f"{name}/{i}".lstrip("/") for name, split in used.items() for i in range(len(split))]
    given = [NONE if is_whole else parts[name] for name in used]
    groups, group_names = None, tuple[str, ...]()
    if config.group_column in features:
        column = [str(g) for split in used.values() for g in split[config.group_column]]
        found, groups = np.unique(column, return_inverse=True)
        group_names = tuple(found.tolist())
    return Listing(
        root,
        np.array([name.encode() for name in names], dtype=np.bytes_),
        labels,
        classes,
        np.repeat(np.array(given, dtype="U5"), [len(split) for split in used.values()]),
        groups,
        group_names,
        LeftOut(passed_over=tuple(name for name in whole if name not in used)),
        reader=Rows(root, used, picture),
    )


def _load(root: Path) -> dict[str, Any]:
    """The data sets by the names of their splits; of one without splits, by an empty name."""
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError:
        raise UserError(
            "data.name: huggingface takes the package datasets; pip install '.[datasets]'"
        ) from None
    try:
        loaded = load_from_disk(str(root))
    except (OSError, ValueError) as error:
        raise UserError(
            f"data.root: {root} is no data set that `save_to_disk` wrote ({error!s:.200})"
        ) from None
    return dict(loaded) if isinstance(loaded, DatasetDict) else {"": loaded}


def _column(root: Path, features: Any, kind: str, wanted: str, key: str) -> str:
    """The column of that kind of feature: the wanted one, or the only one."""
    found: list[str] = [name for name, each in features.items() if type(each).__name__ == kind]
    if wanted in found:
        return wanted
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"{root}: {len(found) or 'no'} columns are of type {kind}, out of {', '.join(features)}; "
        f"name one with {key}, or make one (class_encode_column, cast_column)"
    )
