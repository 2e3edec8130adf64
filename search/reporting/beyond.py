"""What lies beyond accuracy, as tables and a figure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import plotly.graph_objects as go

from search.further.measures import MEASURES, Measure
from search.further.questions import Further, Question, Value
from search.judge.difference import Difference
from search.reporting.tables import CLASSIFIERS
from search.reporting.trial_figures import GREY

Table = list[list[str]]


def themes(found: Further) -> dict[str, list[Measure]]:
    """Theme -> its measures, those that some row has."""
    known = {name for row in found.rows for name in row.measures}
    by_theme: dict[str, list[Measure]] = {}
    for measure in MEASURES.values():
        if measure.name in known:
            by_theme.setdefault(measure.theme, []).append(measure)
    return by_theme


def tables(found: Further) -> Iterator[tuple[str, list[Measure], Table]]:
    """For each theme its name, its measures, and a table: winners and references by measure."""
    for theme, measures in themes(found).items():
        names = [f"{each.label}{', %' if each.is_share else ', nats'}" for each in measures]
        rows = [["row", "classifier", *names]]
        for row in found.rows:
            cells = [_cell(each, row.measures.get(each.name)) for each in measures]
            rows.append([row.label, CLASSIFIERS[row.classifier], *cells])
        yield theme, measures, rows


def _cell(measure: Measure, value: Value | None) -> str:
    if value is None:
        return "-"
    text = _number(measure, value.value)
    if value.ci95 is None:
        return text
    low, high = (_number(measure, bound) for bound in value.ci95)
    return f"{text} ({low} to {high})"


def _number(measure: Measure, value: float) -> str:
    """A probe whose probabilities are all but 0 and 1 may have an NLL of thousands of nats."""
    places = 1 if measure.is_share else 3 if value < 10 else 0
    return f"{measure.scale * value:,.{places}f}"


def about(found: Further) -> str:
    """What all of the tables are of."""
    corrupted = "" if found.corrupted == found.images else f"{found.corrupted:,} of them "
    unknown = f", and {found.unknown:,} of classes never trained on" if found.unknown else ""
    return (
        f"Of the {found.images:,} test images, clean and {corrupted}corrupted{unknown}: mean over "
        f"seeds with its 95 % interval, which counts the chance of the seeds and of the images "
        f"({found.blocks} blocks of them are left out by turns) and is cut to what is possible. "
        f"Each is of its row alone: whether two rows differ is said by the questions. No winner "
        f"was picked by any of this, and the verdict does not hang on it."
    )


def questions_table(found: Further) -> Table:
    """A row for each question: what was compared, and at which level; empty if none was asked."""
    if not found.questions:
        return []
    rows = [["question", "difference, probes", "interval", "p", "against the head", "detectable"]]
    for each in found.questions:
        measure, d = MEASURES[each.measure], each.probes
        interval = _interval(measure, d)
        if d.judged:
            interval += f" ({100 * (1 - d.judged.level):.4g} %)"
        rows.append(
            [
                f"{measure.label}: {each.a} minus {each.b}",
                f"{_signed(measure, d.difference)} {measure.unit} ({_side(each)})",
                interval,
                f"{d.p_value:.3f}",
                _interval(measure, each.against_head) if each.against_head else "-",
                f"{measure.scale * d.smallest:.{_places(measure)}f}",
            ]
        )
    return rows


def about_questions(found: Further) -> str:
    """What the table of questions is of; empty if none was asked."""
    if not found.questions:
        return ""
    is_judged = any(each.probes.judged for each in found.questions)
    shared = ", at levels that share 5 % (Holm)" if is_judged else ""
    return (
        f"Each question compares two winners by their linear probes{shared}; a difference is "
        f"shown where the interval leaves out 0, and said where the better arm is so also against "
        f"the baseline's own head. Detectable: what would be found 4 times in 5, if it were there."
    )


def differences(found: Further, a: str, shade: str) -> go.Figure | None:
    """Each question about an arm: difference by standard error, the better side on the right.

    Filled: probe against probe; open: against the baseline's own head. Grey: no difference is said.
    """
    own = [each for each in found.questions if each.a == a]
    if not own:
        return None
    figure, y = go.Figure(), 0
    for each in own:
        colour = shade if each.is_shown else GREY
        _add_line(figure, y, each, each.probes, colour, "circle")
        if each.against_head is not None:
            _add_line(figure, y + 0.18, each, each.against_head, colour, "circle-open")
        figure.add_annotation(
            x=0, xref="paper", y=y - 0.36, text=escape(_label(each)),
            xanchor="left", showarrow=False, font={"size": 12, "color": "#555"},
        )  # fmt: skip
        y += 1
    figure.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    sides = escape(f"← {own[0].b} better · {a} better →")
    figure.update_xaxes(title=f"{sides}<br>difference / its standard error")
    figure.update_yaxes(visible=False, range=[y - 0.5, -0.7])
    return figure.update_layout(height=90 + 56 * y, showlegend=False, margin={"l": 10})


def _label(question: Question) -> str:
    measure = MEASURES[question.measure]
    d = f"{_signed(measure, question.probes.difference)} {measure.unit}"
    return f"{measure.label}: {question.a} {d} ({_side(question)})"


def _side(question: Question) -> str:
    """Whether a seems better or worse than b."""
    d = question.probes.difference
    is_better = (d > 0) == MEASURES[question.measure].is_higher_better
    return "equal" if d == 0 else "better" if is_better else "worse"


def _places(measure: Measure) -> int:
    return 2 if measure.is_share else 3


def _signed(measure: Measure, value: float) -> str:
    return f"{measure.scale * value:+.{_places(measure)}f}"


def _interval(measure: Measure, d: Difference) -> str:
    low, high = d.interval
    return f"{_signed(measure, low)} to {_signed(measure, high)}"


def _add_line(
    figure: go.Figure, y: float, question: Question, d: Difference, colour: str, symbol: str
) -> None:
    """A dot with its interval; nothing varied: at 0, or without a place on this scale."""
    if d.standard_error == 0:
        return
    measure = MEASURES[question.measure]
    sign = (1 if measure.is_higher_better else -1) / d.standard_error
    half = (d.interval[1] - d.interval[0]) / 2 / d.standard_error
    figure.add_scatter(
        x=[round(sign * d.difference, 3)], y=[y], mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 9},
        error_x={"array": [round(half, 3)], "color": colour, "thickness": 1.4},
        hovertemplate=f"{measure.scale * d.difference:+.3f} {measure.unit}<extra></extra>",
    )  # fmt: skip
