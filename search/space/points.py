"""Points from a file: configs, and if wanted seeds, that a search begins with or repeats."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from supcon.config import TEXT_KEYS
from supcon.parsing import UserError, read_yaml
from supcon.plain_yaml import read


def read_points(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Arm -> points, as `points:` of a space holds them.

    Args:
        path: a study's trials.csv, of which the search trials count, with their seeds; or a YAML
            file with what would stand under `points:`.

    Raises:
        UserError: the file is missing, or neither of the two.
    """
    if path.suffix != ".csv":
        return read_yaml(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("phase") == "search"]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"--points {path}: cannot be read ({error})") from None
    points: dict[str, list[dict[str, Any]]] = {}
    try:
        for row in sorted(rows, key=lambda row: int(row["number"])):
            points.setdefault(row["arm"], []).append(_point(row))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"--points {path}: is not a study's trials.csv ({error!r})") from None
    if not points:
        raise UserError(f"--points {path}: holds no search trial; give a study's trials.csv")
    return points


def _point(row: dict[str, str]) -> dict[str, Any]:
    drawn = {
        key: text if key in TEXT_KEYS else read(text)
        for key, text in row.items()
        if text and "." in key and "/" not in key
    }
    return {**drawn, "seed": int(row["seed"])}
