"""Which model of a study is meant, and what the study says of it: read from its summary.json.

That file is what programs may rely on; the study's log is the business of the search.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supcon.parsing import UserError, is_there

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Winner:
    """A run that judged an arm's winner."""

    summary: dict[str, Any]
    """summary.json."""
    arm: str
    run: str
    """Name of its folder."""
    place: int
    """Which of the arm's confirmed runs it is."""
    file: Path
    """Its model."""
    why: str
    """Why this one was taken."""

    @property
    def confirmed(self) -> dict[str, Any]:
        """The arm's confirmed runs."""
        found: dict[str, Any] = self.summary["arms"][self.arm]["confirm"]
        return found


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return is_there(folder / "events.jsonl")


def winners(folder: Path, arm: str | None, seed_of: str) -> list[Winner]:
    """The runs of a study that are meant.

    Args:
        folder: of the study.
        arm: None: the one whose confirmed runs are best on val.
        seed_of: best (on val), all, or the number of a run: 0 is the first.

    Raises:
        UserError: the study has no such arm or run, or was not confirmed yet.
    """
    summary = _read(folder)
    arms: dict[str, Any] = summary["arms"]
    metric = summary["metric"].removeprefix("val/")
    ready = {name: found["confirm"] for name, found in arms.items() if found["confirm"]["seeds"]}
    if arm is not None and arm not in arms:
        raise UserError(f"--arm {arm}: the study has {', '.join(arms)}")
    if not ready or (arm is not None and arm not in ready):
        raise UserError(
            f"{folder}: {arm or 'no arm'} has {'no ' if arm else ''}runs on fresh seeds yet; go on "
            f"with the study by --resume, or train a config of {folder / 'best'}"
        )
    chosen = arm or max(ready, key=lambda name: _mean(ready[name]["val"][metric]))
    scores = ready[chosen]["val"][metric]
    best = max(range(len(scores)), key=lambda i: scores[i])
    places = list(range(len(scores))) if seed_of == "all" else [_place(seed_of, best, len(scores))]
    why = f"arm {chosen}"
    if arm is None and len(ready) > 1:
        how = "better" if len(ready) == 2 else "best"
        why += f" ({how} on val: {_mean(scores):.4f}; --arm takes another)"
    if seed_of == "best":
        why += f", run {best} of {len(scores)} (best on val; --seed-of takes another)"
    runs = ready[chosen].get("runs")
    if not runs:
        raise UserError(
            f"{folder / SUMMARY}: was written by an earlier version; write it anew with: python "
            f"search/report.py {folder}"
        )
    return [
        Winner(summary, chosen, runs[i], i, folder / "trials" / runs[i] / "model.pt", why)
        for i in places
    ]


def _read(folder: Path) -> dict[str, Any]:
    path = folder / SUMMARY
    hint = f"write it anew with: python search/report.py {folder}"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["arms"], found["metric"], found["verdict"]
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; end the study, or {hint}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); {hint}") from None
    return found


def _place(seed_of: str, best: int, n: int) -> int:
    if seed_of == "best":
        return best
    if not seed_of.isdecimal() or int(seed_of) >= n:
        raise UserError(f"--seed-of {seed_of}: must be best, all, or 0 to {n - 1}")
    return int(seed_of)


def _mean(scores: list[float]) -> float:
    return math.fsum(scores) / len(scores)
