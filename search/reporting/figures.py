"""The figures of a study, as plotly makes them: pure functions of the log and its summary.

Each returns None where a study has nothing to show. Accuracies are in %.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from html import escape

import plotly.graph_objects as go

from search.gallery.tsne import Picture
from search.judge.difference import mean_interval
from search.judge.sentence import MEASURES
from search.judge.verdict import ByClass
from search.log.study import Study
from search.reporting.beyond import differences
from search.reporting.summary import Summary
from search.reporting.tables import scored
from search.reporting.trial_figures import (
    GEOMETRY,
    GREY,
    PALETTE,
    curves,
    geometry,
    parallel,
    percent,
    slice_plot,
)
from search.strategy.winners import leader

OUTCOMES = {
    "completed": "#009E73",
    "stopped": GREY,
    "cut": "#56B4E9",
    "infeasible": "#E69F00",
    "diverged": "#CC79A7",
    "failed": "#D55E00",
    "unfinished": "#dddddd",
}
CLASS_COLOURS = (*PALETTE, "#222222", "#F0E442")  # of Okabe and Ito too
SHAPES = ("circle", "diamond", "triangle-up", "x")


def all_figures(study: Study, summary: Summary) -> dict[str, Callable[[], go.Figure | None]]:
    """What draws every figure of the report, by name; those of a panel begin with its name."""
    figures: dict[str, Callable[[], go.Figure | None]] = {
        "comparisons": partial(comparisons, summary),
        "points": partial(test_scores, summary),
        **{f"per_class/{each.a}": partial(per_class, each) for each in summary.classes},
        **_beyond(summary),
        "rungs": partial(rungs, summary),
        "budget": partial(budget, summary),
        "outcomes": partial(outcomes, summary),
        "importance": partial(importance, summary),
    }
    winners = {arm: trial for arm in study.arms if (trial := leader(study, arm))}
    shades = {arm: colour(summary, arm) for arm in summary.arms}
    for metric in GEOMETRY:
        figures[f"geometry/{metric}"] = partial(geometry, winners, metric, shades)
    for arm in study.arms:
        trials, shade = [t for t in study.log.of(arm) if t.reports and t.end], colour(summary, arm)
        figures[f"curves/{arm}"] = partial(curves, study, arm, shade)
        figures[f"parallel/{arm}"] = partial(parallel, study.space, arm, trials, shade)
        for key, distribution in study.space.arm_params(arm).items():
            figures[f"slices/{arm}/{key}"] = partial(slice_plot, key, distribution, trials, shade)
        for plane in ("encoder", "projection"):
            figures[f"tsne/{arm}/{plane}"] = partial(tsne, summary.tsne.get(arm), plane)
    return figures


def _beyond(summary: Summary) -> dict[str, Callable[[], go.Figure | None]]:
    """A figure of further questions for each arm that is compared."""
    if summary.further is None:
        return {}
    arms = dict.fromkeys(each.a for each in summary.further.questions)
    return {
        f"further/{a}": partial(differences, summary.further, a, colour(summary, a)) for a in arms
    }


def colour(summary: Summary, arm: str) -> str:
    """An arm's colour, the same in every figure."""
    return PALETTE[list(summary.arms).index(arm) % len(PALETTE)]


def test_scores(summary: Summary) -> go.Figure | None:
    """Every test score, with the 95 % interval of the mean; a line for each row and classifier."""
    figure, n = go.Figure(), 0
    for row, label, _, test in scored(summary):
        if not test:
            continue
        _add_points(figure, n, test, colour(summary, row.arm), row.phase == "confirm")
        _add_label(figure, n, f"{row.label}: {label}")
        n += 1
    if n == 0:
        return None
    figure.update_xaxes(title="test accuracy, %")
    figure.update_yaxes(visible=False, range=[n - 0.5, -0.8])
    return figure.update_layout(height=90 + 40 * n, showlegend=False, margin={"l": 10})


def _add_points(figure: go.Figure, y: int, test: list[float], shade: str, is_winner: bool) -> None:
    figure.add_scatter(
        x=percent(test), y=[y] * len(test), mode="markers",
        marker={"color": shade, "size": 9, "opacity": 0.75,
                "symbol": "circle" if is_winner else "circle-open"},
        hovertemplate="%{x:.2f} %<extra></extra>",
    )  # fmt: skip
    low, high = mean_interval(test) or (test[0], test[0])
    mean, high = statistics.mean(test), min(high, 1.0)
    figure.add_scatter(
        x=percent([mean]), y=[y], mode="markers",
        marker={"color": shade, "symbol": "line-ns-open", "size": 16},
        error_x={"array": percent([high - mean]), "arrayminus": percent([mean - low]),
                 "color": shade, "thickness": 1.2},
        hovertemplate="mean %{x:.2f} %<extra></extra>",
    )  # fmt: skip


def comparisons(summary: Summary) -> go.Figure | None:
    """Several comparisons: each arm minus the baseline, with the interval that its verdict is by;
    filled: probe against probe, open: against the baseline's own head.
    """
    figure, n = go.Figure(), 0
    for each in summary.verdict.comparisons:
        if each.difference is None or each.interval is None:
            continue
        shade, name = colour(summary, str(each.a)), f"{each.a} minus {each.b}"
        _add_interval(figure, n, name, each.difference, each.interval, shade, "circle")
        n += 1
        if (head := each.against_head) is not None:
            name += "'s head"
            _add_interval(figure, n, name, head.difference, head.interval, shade, "circle-open")
            n += 1
    if n == 0:
        return None
    figure.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title=f"points of {MEASURES[summary.metric]}")
    figure.update_yaxes(visible=False, range=[n - 0.5, -0.8])
    return figure.update_layout(height=90 + 40 * n, showlegend=False, margin={"l": 10})


def _add_interval(
    figure: go.Figure,
    y: int,
    name: str,
    d: float,
    interval: tuple[float, float],
    shade: str,
    symbol: str,
) -> None:
    low, high = interval
    figure.add_scatter(
        x=percent([d]), y=[y], mode="markers", name=name,
        marker={"color": shade, "symbol": symbol, "size": 10},
        error_x={"array": percent([high - d]), "arrayminus": percent([d - low]),
                 "color": shade, "thickness": 1.4},
        hovertemplate="%{x:+.2f} points<extra></extra>",
    )  # fmt: skip
    _add_label(figure, y, name)


def _add_label(figure: go.Figure, y: int, text: str) -> None:
    """Above its line and not at its side, where a telephone has no room for it."""
    figure.add_annotation(
        x=0, xref="paper", y=y - 0.42, text=escape(text),
        xanchor="left", showarrow=False, font={"size": 12, "color": "#555"},
    )  # fmt: skip


def per_class(found: ByClass) -> go.Figure:
    """Difference of the winners class by class, the largest first."""
    order = sorted(range(len(found.n)), key=lambda i: -found.difference[i])
    d, low, high = ([x[i] for i in order] for x in (found.difference, found.low, found.high))
    figure = go.Figure(
        go.Scatter(
            x=percent(d), y=[f"{escape(found.classes[i])} ({found.n[i]})" for i in order],
            mode="markers", marker={"color": "#333333", "size": 8},
            error_x={"array": percent([h - x for h, x in zip(high, d, strict=True)]),
                     "arrayminus": percent([x - v for v, x in zip(low, d, strict=True)]),
                     "thickness": 1.2},
            hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title=f"{found.a} minus {found.b}, points")
    figure.update_yaxes(autorange="reversed", type="category")
    return figure.update_layout(height=110 + 24 * len(order))


def rungs(summary: Summary) -> go.Figure | None:
    """Trials that reached each rung."""
    figure = go.Figure()
    for arm, found in summary.arms.items():
        reached = found.reached
        figure.add_bar(
            x=[f"epoch {epoch}" for epoch in reached], y=[n for n, _ in reached.values()],
            name=arm, marker={"color": colour(summary, arm)},
            text=[n for n, _ in reached.values()], textposition="auto",
        )  # fmt: skip
    figure.update_yaxes(title="trials that reached it")
    return figure.update_layout(height=300, barmode="group")


def budget(summary: Summary) -> go.Figure | None:
    """What a budget bought, and what random search would be expected to find with it."""
    figure = go.Figure()
    for arm, found in summary.arms.items():
        shade, curve, expected = colour(summary, arm), found.best_so_far, found.expected_best
        if curve:
            figure.add_scatter(
                x=[epochs for epochs, _ in curve], y=percent([score for _, score in curve]),
                name=f"{arm}, best so far", mode="lines+markers", marker={"size": 5},
                line={"color": shade, "shape": "hv"},
            )  # fmt: skip
        if expected:
            x, band = (expected.epochs, {"mode": "lines", "showlegend": False, "hoverinfo": "skip"})
            figure.add_scatter(x=x, y=percent(expected.high), line={"width": 0}, **band)
            figure.add_scatter(
                x=x, y=percent(expected.low), line={"width": 0}, fill="tonexty",
                fillcolor=_faint(shade), **band,
            )  # fmt: skip
            figure.add_scatter(
                x=x, y=percent(expected.mean), mode="lines",
                line={"color": shade, "dash": "dot"},
                name=f"{arm}, random trials at epoch {expected.epoch}",
            )  # fmt: skip
    figure.update_xaxes(title="epochs that the arm has spent")
    figure.update_yaxes(title="best val accuracy, %")
    figure.update_layout(height=400, legend_traceorder="normal")
    return figure if figure.data else None


def _faint(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.14)"


def outcomes(summary: Summary) -> go.Figure | None:
    """How the search's trials ended."""
    figure = go.Figure()
    arms = summary.arms
    for outcome, shade in OUTCOMES.items():
        counts = [found.outcomes.get(outcome, 0) for found in arms.values()]
        if any(counts):
            figure.add_bar(
                y=list(arms), x=counts, name=outcome, orientation="h", marker={"color": shade},
                text=[n or "" for n in counts], textposition="inside", insidetextanchor="middle",
            )  # fmt: skip
    figure.update_xaxes(title="trials")
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=130 + 40 * len(arms), barmode="stack", legend_traceorder="normal")
    return figure if figure.data else None


def importance(summary: Summary) -> go.Figure | None:
    """Shares of the parameters, all arms."""
    figure = go.Figure()
    for arm, found in summary.arms.items():
        if found.importance:
            values = found.importance.values
            figure.add_bar(
                y=list(values), x=list(values.values()), orientation="h",
                name=f"{arm} ({found.importance.n_trials} trials at epoch "
                f"{found.importance.epoch})",
                marker={"color": colour(summary, arm)},
            )  # fmt: skip
    if not figure.data:
        return None
    names = {name for bar in figure.data for name in bar.y}
    figure.update_xaxes(title="importance (PED-ANOVA)")
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(height=130 + 34 * len(names), barmode="group")


def tsne(picture: Picture | None, plane: str) -> go.Figure | None:
    """Val images in a plane, coloured by class; every other eight classes have another shape."""
    points = getattr(picture, plane, None)
    if picture is None or not points:
        return None
    figure, classes = go.Figure(), picture.classes
    for label, name in enumerate(classes):
        own = [xy for xy, its in zip(points, picture.labels, strict=True) if its == label]
        figure.add_scatter(
            x=[round(x, 2) for x, _ in own], y=[round(y, 2) for _, y in own], mode="markers",
            name=escape(name), showlegend=len(classes) <= 20, hoverinfo="name",
            marker={"size": 6, "color": CLASS_COLOURS[label % 8], "opacity": 0.8,
                    "symbol": SHAPES[label // 8 % len(SHAPES)]},
        )  # fmt: skip
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    title = {"encoder": "encoder features", "projection": "after the projection head"}[plane]
    return figure.update_layout(title=title, height=400)
