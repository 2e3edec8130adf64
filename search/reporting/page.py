"""report.html: one file that opens offline, from a template and the figures of a study."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search.gallery.lookalikes import looked_alike
from search.gallery.suspects import current
from search.log.study import Study
from search.log.wording import mean_percent
from search.reporting.beyond import about, about_questions, questions_table, tables
from search.reporting.extras import Parts
from search.reporting.figures import all_figures, colour
from search.reporting.markdown import question
from search.reporting.summary import Summary
from search.reporting.tables import (
    collapsed_text,
    comparisons_table,
    guess_rows,
    interval_text,
    lookalikes_text,
    scored,
    suspects_text,
)

LAYOUT: dict[str, Any] = {  # what all figures share
    "template": "none",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222"},
    "margin": {"l": 60, "r": 15, "t": 15, "b": 50},
    "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    "paper_bgcolor": "white",
    "plot_bgcolor": "white",
    "hovermode": "closest",
}
TITLE = {"x": 0, "xref": "container", "xanchor": "left", "y": 0.98, "font": {"size": 14}}
AXIS = {"gridcolor": "#ececec", "zeroline": False, "linecolor": "#999", "automargin": True,
        "title_font": {"size": 13}}  # fmt: skip


def render(study: Study, summary: Summary, parts: Parts) -> str:
    """The page.

    Args:
        study: the study, for the figures that show every trial.
        summary: what it found.
        parts: is told which figures could not be drawn.
    """
    drawn = {
        name: parts.made(name, f"figure {name} not drawn", partial(_plain, make), None)
        for name, make in all_figures(study, summary).items()
    }
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    nothing: list[dict[str, Any]] = []
    suspects = parts.made(
        "suspects.pictures", "suspicious labels not shown", partial(_suspects, study), nothing
    )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "pct": lambda value: f"{100 * value:.2f}",
        "signed": lambda value: f"{100 * value:+.2f}",
        "short": lambda value: f"{value:.4g}" if isinstance(value, float) else value,
    }
    return environment.get_template("report.html.j2").render(
        summary=summary,
        figures=figures,
        missing=parts.missing,
        arms=summary.arms,
        question=question(summary),
        comparisons=_comparisons(summary),
        lines=_lines(summary),
        copies=study.log.audited.copies if study.log.audited else [],
        guesses=guess_rows(summary),
        labels=suspects_text(summary.suspects) if summary.suspects else "",
        suspects=suspects,
        likeness=lookalikes_text(summary.lookalikes) if summary.lookalikes else "",
        lookalikes=likes.pairs if (likes := looked_alike(study)) else [],
        further=list(tables(summary.further)) if summary.further else [],
        about=about(summary.further) if summary.further else "",
        questions=questions_table(summary.further) if summary.further else [],
        about_questions=about_questions(summary.further) if summary.further else "",
        metric=summary.metric.partition("/")[2],
        winners=_winners(summary),
        spent=_spent(summary),
        colours={arm: colour(summary, arm) for arm in summary.arms},
        plotly=Markup(get_plotlyjs()),
        # No tag can end inside of a script.
        data=Markup(json.dumps(figures).replace("<", "\\u003c")),
    )


def _plain(make: Callable[[], Any]) -> Any:
    """A figure as plain values, in the style of the page; None: there is nothing to show."""
    figure = make()
    if figure is None:
        return None
    own = figure.layout
    margin = LAYOUT["margin"] | own.margin.to_plotly_json()
    figure.update_layout(**{**LAYOUT, "height": own.height, "margin": margin})
    if figure.layout.title.text:
        figure.update_layout(title=TITLE, margin_t=35)
    figure.update_xaxes(**AXIS)
    figure.update_yaxes(**AXIS)
    return json.loads(figure.to_json())


def _comparisons(summary: Summary) -> dict[str, Any]:
    """The table of several comparisons; empty if there is one, or none."""
    if not (summary.verdict.comparisons and summary.verdict.is_given):
        return {}
    names, *rows = comparisons_table(summary.verdict)
    arms = [each.a for each in summary.verdict.comparisons]
    return {"names": names, "rows": list(zip(arms, rows, strict=True))}


def _lines(summary: Summary) -> list[dict[str, Any]]:
    """The table of results: a line for each row and classifier."""
    found = list(scored(summary))
    return [
        {
            "arm": row.arm,
            "row": row.label,
            "classifier": label,
            "is_first": i == 0 or row is not found[i - 1][0],
            "n": len(val),
            "val": mean_percent(val).replace("+-", "±"),
            "test": mean_percent(test).replace("+-", "±"),
            "interval": interval_text(test),
            "points": " ".join(f"{100 * x:.2f}" for x in test),
        }
        for i, (row, label, val, test) in enumerate(found)
    ]


def _suspects(study: Study) -> list[dict[str, Any]]:
    """Those that have a picture."""
    found = current(study)
    if found is None:
        return []
    return [
        {
            "picture": each.picture,
            "given": found.classes[each.label],
            "predicted": found.classes[each.predicted],
            "where": each.file or f"{each.part} {each.index}",
            "confidence": each.self_confidence,
        }
        for each in found.suspects
        if each.picture is not None
    ]


def _winners(summary: Summary) -> dict[str, list[Any]]:
    """The params of the winners side by side; empty where one has none."""
    found = [arm.best.params if arm.best else {} for arm in summary.arms.values()]
    names = dict.fromkeys(name for params in found for name in params)
    return {name: [params.get(name, "") for params in found] for name in names}


def _spent(summary: Summary) -> list[dict[str, Any]]:
    """What each arm cost, the search and all that follows."""
    return [
        {"arm": arm, "part": part, "trials": n, "collapsed": collapsed, **ledger.model_dump()}
        for arm, found in summary.arms.items()
        for part, ledger, n, collapsed in (
            ("search", found.ledger, found.trials, collapsed_text(found)),
            ("after it", found.confirm_ledger, "", ""),
        )
    ]
