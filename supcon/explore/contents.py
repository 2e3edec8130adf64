"""What explore.html shows, as plain values: its scripts read nothing else."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from supcon.bundle.model import Model
from supcon.evaluation.plane import NAMES, Method
from supcon.explore.album import Album
from supcon.explore.judging import Judged, NotJudged, Suspect, confusions, judge, suspects
from supcon.explore.looking import PARTS, UNKNOWN, Looked
from supcon.explore.placing import places
from supcon.explore.tiles import COLUMNS, sheets
from supcon.parsing import UserError

LISTED = 60  # suspects
STUDY_COLUMNS = ("part", "index", "file", "label", "predicted", "self_confidence", "probably_wrong")

T = TypeVar("T")


@dataclass(frozen=True)
class Choices:
    """What whoever asks for the page decides."""

    method: Method = "tsne"
    suspects: Path | None = None
    """A study's suspects.csv; None: they are looked for among the images."""
    say: Callable[[str], None] = print
    """Is told how it goes."""


def contents(model: Model, looked: Looked, choices: Choices) -> dict[str, Any]:
    """All that the page shows. A section that cannot be shown is a text that says why.

    Args:
        model: the bundle.
        looked: the images.
        choices: what is to be decided.

    Raises:
        UserError: the list of suspects cannot be read.
    """
    by, album = model.default, Album(looked, model)
    judged = judge(model, looked, by)
    shown = {
        "map": _or_why(lambda: _map(model, looked, choices)),
        "confusions": _or_why(lambda: _confusions(looked, judged, album)),
        "suspects": _or_why(lambda: _suspects(model, looked, album, choices)),
        "unknown": _unknown(model, looked),
    }
    tiles, missing = album.tiles()
    return shown | {
        "classes": list(model.classes),
        "by": by,
        "parts": list(PARTS),
        "images": _images(album, looked, judged),
        "tiles": {"side": tiles.shape[1], "columns": COLUMNS, "sheets": sheets(tiles)},
        "missing": sorted(missing),
        "why_missing": next((f"{album.paths[i]}: {why}" for i, why in missing.items()), ""),
    }


def _or_why(make: Callable[[], T]) -> T | str:
    try:
        return make()
    except NotJudged as error:
        return str(error)


def _images(album: Album, looked: Looked, judged: Judged) -> dict[str, Any]:
    """Columns: path and label of all, the others of those that were looked at."""
    return {
        "n": len(looked),
        "path": [str(path) for path in album.paths],
        "label": album.labels,
        "part": looked.parts.tolist(),
        "predicted": judged.ids.tolist(),
        "probability": judged.sureness.round(3).tolist(),
        "distance": judged.distances.round(5).tolist(),
    }


def _map(model: Model, looked: Looked, choices: Choices) -> dict[str, Any]:
    at = places(looked.features, choices.method, model.config.run.seed, choices.say)
    return {"method": NAMES[choices.method], "x": at[:, 0].tolist(), "y": at[:, 1].tolist()}


def _confusions(looked: Looked, judged: Judged, album: Album) -> list[dict[str, Any]]:
    return [
        {
            "label": cell.label,
            "predicted": cell.predicted,
            "n": cell.n,
            "images": [
                {"image": i, "near": [album.of_gallery(place) for place in judged.near[i].tolist()]}
                for i in cell.shown
            ],
        }
        for cell in confusions(looked, judged)
    ]


def _unknown(model: Model, looked: Looked) -> dict[str, Any]:
    """Numbers of the images whose distances are compared with the threshold."""
    rule, known = model.manifest.unknown, looked.is_new.nonzero()[0]
    others = (looked.labels == UNKNOWN).nonzero()[0]
    return {
        "threshold": rule.threshold,
        "k": rule.k,
        "false_alarms": rule.false_alarms,
        "known": known.tolist(),
        "others": others.tolist(),
    }


def _suspects(model: Model, looked: Looked, album: Album, choices: Choices) -> dict[str, Any]:
    if choices.suspects:
        return _of_study(choices.suspects, model, album)
    config = model.config
    choices.say("looking for doubtful labels ...")
    found = suspects(looked, config.probe, len(model.classes), config.run.seed)
    return {
        "n": len(found),
        "of": int((looked.labels != UNKNOWN).sum()),
        "probable": sum(each.is_probable for each in found),
        "from": "",
        "listed": [_suspect(each, looked, model.classes) for each in found[:LISTED]],
    }


def _suspect(found: Suspect, looked: Looked, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "image": found.image,
        "given": classes[looked.labels[found.image]],
        "rather": classes[found.predicted],
        "confidence": round(found.confidence, 4),
        "probable": found.is_probable,
    }


def _of_study(file: Path, model: Model, album: Album) -> dict[str, Any]:
    rows = _rows(file)
    return {
        "n": len(rows),
        "of": None,
        "probable": sum(row["probably_wrong"] == "yes" for row in rows),
        "from": str(file),
        "listed": [
            {
                "image": album.of_file(Path(row["file"] or f"{row['part']} {row['index']}")),
                "given": row["label"],
                "rather": row["predicted"],
                "confidence": float(row["self_confidence"]),
                "probable": row["probably_wrong"] == "yes",
            }
            for row in rows[:LISTED]
        ],
    }


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
            table = csv.DictReader(lines, strict=True)
            rows = list(table)
        if lacking := [name for name in STUDY_COLUMNS if name not in (table.fieldnames or ())]:
            raise ValueError(f"it has no column {lacking[0]}")
        for number, row in enumerate(rows, start=2):
            if None in row.values() or not 0 <= float(row["self_confidence"]) <= 1:
                raise ValueError(f"row {number} is incomplete, or its self_confidence no share")
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"--suspects {file}: cannot be read ({error}); name the suspects.csv of a study"
        ) from None
    return rows
