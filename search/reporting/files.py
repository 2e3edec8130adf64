"""All files of a report, written into the study's folder."""

from __future__ import annotations

from pathlib import Path

from search.judge.range_edges import wider, wider_yaml
from search.log.study import Study
from search.reporting.curves import draw_curves
from search.reporting.markdown import markdown
from search.reporting.page import render
from search.reporting.provenance import as_typed
from search.reporting.summarise import summarise
from search.reporting.summary import Summary
from search.reporting.tables import aligned, results_table, trials_csv
from search.strategy.winners import best_config
from supcon.config import dump_config
from supcon.parsing import UserError


def write_report(study: Study) -> Summary:
    """Write all files of the report into the study's folder, and return the summary."""
    folder, wide = study.folder, wider(study)
    summary = summarise(study, f"{study.space.name}.wider.yaml" if wide else None)
    if wide is not None and summary.wider is not None:
        file = folder.path / summary.wider
        _write(file, wider_yaml(wide, as_typed(file)))
    _write(folder.summary, summary.to_json())
    _write(folder.path / "report.md", markdown(summary))
    _write(folder.page, render(study, summary))
    _write(folder.path / "curves.svg", draw_curves(study))
    _write(folder.path / "trials.csv", trials_csv(study))
    for arm, found in summary.arms.items():
        if found.best is not None:
            _write(folder.best(arm), dump_config(best_config(study, arm)))
    return summary


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error})") from error


def outcome(summary: Summary) -> str:
    """The table and the verdict, for a terminal."""
    found = summary.verdict
    warnings = [f"warning: {text}" for text in found.warnings]
    return "\n".join(["", aligned(results_table(summary)), "", found.text, *warnings, ""])
