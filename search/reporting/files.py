"""All files of a report, written into the study's folder: the answer first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from search.gallery.lookalikes import lookalikes_csv
from search.gallery.suspects import suspects_csv
from search.judge.range_edges import wider, wider_yaml
from search.log.study import Study
from search.reporting.curves import draw_curves
from search.reporting.extras import Parts, with_extras
from search.reporting.markdown import markdown
from search.reporting.page import render
from search.reporting.provenance import as_typed
from search.reporting.summarise import answer
from search.reporting.summary import Summary
from search.reporting.tables import aligned, results_table, trials_csv
from search.strategy.winners import best_config
from supcon.config import dump_config
from supcon.parsing import UserError


def write_report(study: Study) -> Summary:
    """Write all files of the report into the study's folder, and return the summary."""
    return write_rest(study, write_answer(study), {})


def write_answer(study: Study) -> Summary:
    """Write what the study was made for: verdict, scores, trials, configs of the winners.

    Raises:
        UserError: a file cannot be written.
    """
    found = answer(study)
    _write_texts(study, found)
    write_file(study.folder.path / "trials.csv", trials_csv(study))
    for arm, facts in found.arms.items():
        if facts.best is not None:
            write_file(study.folder.best(arm), dump_config(best_config(study, arm)))
    return found


def write_rest(
    study: Study,
    found: Summary,
    not_drawn: Mapping[str, str],
    not_listed: str = "",
    not_compared: str = "",
    not_examined: str = "",
) -> Summary:
    """Write what is nice to have; what cannot be made is named in its place, and no more.

    Args:
        study: the study.
        found: its answer, as written.
        not_drawn: arm -> why there is no picture of its winner.
        not_listed: why there is no list of suspicious labels.
        not_compared: why there is none of look-alikes.
        not_examined: why a tested run has no measures beyond accuracy.

    Returns:
        The whole summary.
    """
    summary = with_extras(study, found, not_drawn, not_listed, not_compared, not_examined)
    parts = Parts(summary.missing)
    name = parts.made("wider", "wider space not written", partial(_write_wider, study), None)
    summary = summary.model_copy(update={"wider": name})

    def write(file: Path, make: Callable[[], str]) -> None:
        parts.made(file.name, f"{file.name} not written", lambda: write_file(file, make()), None)

    write(study.folder.path / "curves.svg", partial(draw_curves, study))
    if summary.suspects is not None:
        write(study.folder.path / "suspects.csv", partial(suspects_csv, study))
    if summary.lookalikes is not None:
        write(study.folder.path / "lookalikes.csv", partial(lookalikes_csv, study))
    write(study.folder.page, partial(render, study, summary, parts))
    summary = summary.model_copy(update={"missing": parts.missing})
    _write_texts(study, summary)
    return summary


def _write_texts(study: Study, summary: Summary) -> None:
    write_file(study.folder.summary, summary.to_json())
    write_file(study.folder.path / "report.md", markdown(summary))


def _write_wider(study: Study) -> str | None:
    """Its name; None: nothing lies at an end of its range."""
    wide = wider(study)
    if wide is None:
        return None
    file = study.folder.path / f"{study.space.name}.wider.yaml"
    write_file(file, wider_yaml(wide, as_typed(file)))
    return file.name


def write_file(path: Path, text: str) -> None:
    """All of a text or nothing: who is killed here leaves no half of a file.

    Raises:
        UserError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def outcome(summary: Summary) -> str:
    """The table and the verdict, for a terminal; if there is none, why comes first."""
    found = summary.verdict
    warnings = [f"warning: {text}" for text in found.warnings]
    said, table = ["", *found.sentences, *warnings], ["", aligned(results_table(summary))]
    return "\n".join([*(said + table if not found.is_given else table + said), ""])
