"""All files of a report, written into the study's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search.judge.range_edges import wider, wider_yaml
from search.log.journal import Journal
from search.reporting.curves import draw_curves
from search.reporting.markdown import markdown
from search.reporting.page import render
from search.reporting.provenance import as_typed
from search.reporting.summarise import summarise
from search.reporting.tables import aligned, results_table, trials_csv
from search.space.loading import parse_space
from search.strategy.winners import best_config
from supcon.config import dump_config
from supcon.parsing import UserError


def write_report(journal: Journal) -> dict[str, Any]:
    """Write all files of the report into the study's folder, and return the summary."""
    folder = journal.path.parent
    space = parse_space(journal.space, str(journal.path))
    summary = summarise(space, journal)
    wide = wider(space, journal)
    summary["wider"] = f"{space.name}.wider.yaml" if wide is not None else None
    if wide is not None:
        file = folder / summary["wider"]
        _write(file, wider_yaml(wide, as_typed(file)))
    _write(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    _write(folder / "report.md", markdown(summary))
    _write(folder / "report.html", render(space, journal, summary))
    _write(folder / "curves.svg", draw_curves(space, journal))
    _write(folder / "trials.csv", trials_csv(space, journal))
    for arm in space.arms:
        if summary["arms"][arm]["best"]:
            _write(folder / "best" / f"{arm}.yaml", dump_config(best_config(journal, arm)))
    return summary


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error})") from error


def outcome(summary: dict[str, Any]) -> str:
    """The table and the verdict, for a terminal."""
    verdict = summary["verdict"]
    warnings = [f"warning: {text}" for text in verdict["warnings"]]
    return "\n".join(["", aligned(results_table(summary)), "", verdict["text"], *warnings, ""])
