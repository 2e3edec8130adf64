"""Data sets of Hugging Face's `datasets`, saved to disk; their pictures stay in the Arrow files.

Row 17 of split train is called `train/17`, as if it were a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.config import DataConfig
from supcon.listing.listing import LeftOut, Listing
from supcon.listing.names import NONE, PART, PART_NAMES, TRAIN, check_class_names
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
    parts = _parts(root, list(whole))
    known = [part for part in parts.values() if part]
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
    groups, group_names = _groups(used, config.group_column)
    return Listing(
        root,
        np.array([name.encode() for name in names], dtype=np.bytes_),
        labels,
        classes,
        np.repeat(np.array(given, dtype=PART), [len(split) for split in used.values()]),
        groups,
        group_names,
        LeftOut(passed_over=tuple(name for name in whole if name not in used)),
        reader=Rows(root, used, picture),
    )


def _parts(root: Path, names: list[str]) -> dict[str, str]:
    """The part that each split is, by its name."""
    parts = {name: PART_NAMES.get(name.lower(), NONE) for name in names}
    for part in {part for part in parts.values() if part}:
        alike = [name for name in names if parts[name] == part]
        if len(alike) > 1:
            raise UserError(f"{root}: {' and '.join(alike)} could each be {part}; keep one of them")
    if any(parts.values()) and TRAIN not in parts.values():
        raise UserError(f"data.root: {root} has no split train; it has {', '.join(names)}")
    return parts


def _groups(
    splits: dict[str, Any], column: str | None
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
    if column not in next(iter(splits.values())).features:
        return None, ()
    values = [str(value) for split in splits.values() for value in split[column]]
    names, groups = np.unique(values, return_inverse=True)
    return groups, tuple(names.tolist())


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
