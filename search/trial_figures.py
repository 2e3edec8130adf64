"""Figures of a study's trials: curves, and scores against what was drawn. Accuracies are in %."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from search.distribution import Distribution
from search.events import Journal, Trial
from search.space import Space
from supcon.config import SELECTION_METRIC

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
GREY = "#b5b5b5"


def percent(values: list[float]) -> list[float]:
    """Fractions in %, as short as a figure needs them."""
    return [round(100 * value, 3) for value in values]


def curves(space: Space, journal: Journal) -> go.Figure | None:
    """The validation score of every trial against epochs, an arm a panel."""
    arms = list(space.arms)
    figure = make_subplots(1, len(arms), shared_yaxes=True, subplot_titles=arms)
    for column, arm in enumerate(arms, start=1):
        shade = PALETTE[(column - 1) % len(PALETTE)]
        kinds = {
            "stopped": (GREY, "solid", 1.0),
            "completed": (shade, "solid", 1.4),
            "confirm": ("#222222", "dot", 1.8),
        }
        trials = [*journal.of(arm), *journal.of(arm, "confirm")]
        for kind, (line, dash, width) in kinds.items():
            x, y, names = _joined([t for t in trials if _kind(t) == kind and t.reports])
            figure.add_scatter(
                x=x, y=y, text=names, row=1, col=column, mode="lines+markers",
                name={"confirm": "winner on fresh seeds"}.get(kind, kind), legendgroup=kind,
                showlegend=column == 1, marker={"size": 4},
                line={"color": line if kind != "completed" else shade, "dash": dash,
                      "width": width},
                hovertemplate="%{text}, epoch %{x}: %{y:.2f} %<extra></extra>",
            )  # fmt: skip
        figure.update_xaxes(title="epoch", row=1, col=column)
    figure.update_yaxes(title="val accuracy, linear probe, %", row=1, col=1)
    has_any = any(t.reports for t in journal.trials.values())
    return figure.update_layout(height=420) if has_any else None


def _kind(trial: Trial) -> str:
    if trial.ask.phase == "confirm":
        return "confirm"
    return "completed" if trial.outcome == "completed" else "stopped"


def _joined(trials: list[Trial]) -> tuple[list[int | None], list[float | None], list[str]]:
    """Curves one after the other with gaps between them: one trace is drawn faster than many."""
    x: list[int | None] = []
    y: list[float | None] = []
    names: list[str] = []
    for trial in trials:
        scores = [(r.epoch, r.metrics[SELECTION_METRIC]) for r in trial.reports]
        x += [*(epoch for epoch, _ in scores), None]
        y += [*percent([score for _, score in scores]), None]
        names += [trial.name] * (len(scores) + 1)
    return x, y, names


def parallel(space: Space, arm: str, trials: list[Trial]) -> go.Figure | None:
    """A line for every trial through its params, to its last score."""
    if len(trials) < 2:
        return None
    params = space.arm_params(arm)
    figure = make_subplots(1, 1)
    scores = percent([trial.score for trial in trials])
    low, high = min(scores), max(scores)
    axes = [*map(_short, params), "last score, %"]
    positions: list[list[float | None]] = [
        [*_positions(trial, params), (s - low) / (high - low or 1)]
        for trial, s in zip(trials, scores, strict=True)
    ]
    for trial, y, score in sorted(
        zip(trials, positions, scores, strict=True), key=lambda item: item[2]
    ):
        is_whole = trial.outcome == "completed"
        figure.add_scatter(
            x=axes, y=y, mode="lines", showlegend=False, connectgaps=False,
            line={"color": _shade(y[-1] or 0.0), "width": 2 if is_whole else 1},
            hovertemplate=f"{trial.name}: {score:.2f} %<extra></extra>",
        )  # fmt: skip
    for i, ends in enumerate([*map(_ends, params.values()), (f"{low:.2f}", f"{high:.2f}")]):
        for value, height in zip(ends, (-0.06, 1.06), strict=True):
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            figure.add_annotation(x=i, y=height, text=text, showarrow=False, font={"size": 11})
        figure.add_vline(x=i, line={"color": "#cccccc", "width": 1})
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    figure.update_xaxes(showgrid=False)
    return figure.update_layout(height=380)


def _positions(trial: Trial, params: dict[str, Distribution]) -> Iterator[float | None]:
    """Where each param lies in its range, 0 to 1; None: it was not drawn."""
    for key, distribution in params.items():
        if key not in trial.ask.params:
            yield None
            continue
        value = trial.ask.params[key]
        if distribution.kind == "choice":
            yield distribution.values.index(value) / (len(distribution.values) - 1)
            continue
        yield distribution.position(value)


def _short(key: str) -> str:
    return key.split(".")[1]


def _ends(distribution: Distribution) -> tuple[Any, Any]:
    return distribution.values[0], distribution.values[-1]


def _shade(share: float) -> str:
    """From grey to blue, by score."""
    low, high = (200, 205, 210), (0, 80, 160)
    r, g, b = (round(x + share**2 * (y - x)) for x, y in zip(low, high, strict=True))
    return f"rgb({r},{g},{b})"


def slices(space: Space, arm: str, trials: list[Trial]) -> go.Figure | None:
    """The last score of every trial against each of its params."""
    params = space.arm_params(arm)
    if not trials:
        return None
    columns = min(3, len(params))
    rows = -(-len(params) // columns)
    figure = make_subplots(rows, columns, shared_yaxes=True, vertical_spacing=0.3 / rows)
    shade = PALETTE[list(space.arms).index(arm) % len(PALETTE)]
    for i, (key, distribution) in enumerate(params.items()):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for kind, line in (("stopped", GREY), ("completed", shade)):
            own = [t for t in trials if _kind(t) == kind and key in t.ask.params]
            figure.add_scatter(
                x=[t.ask.params[key] for t in own], y=percent([t.score for t in own]),
                text=[f"{t.name}, epoch {t.reports[-1].epoch}" for t in own], mode="markers",
                name=kind, legendgroup=kind, showlegend=i == 0,
                marker={"color": line, "size": 7, "opacity": 0.8},
                hovertemplate="%{text}<br>%{x}: %{y:.2f} %<extra></extra>", **place,
            )  # fmt: skip
        scale: dict[str, Any] = {"type": "category"} if distribution.kind == "choice" else {}
        if distribution.is_log:
            scale = {"type": "log", "dtick": "D2"}
        if distribution.kind == "pow2":
            drawn = sorted({t.ask.params[key] for t in trials if key in t.ask.params})
            scale = {"type": "log", "tickvals": drawn}
        figure.update_xaxes(title=_short(key), **scale, **place)
    for row in range(1, rows + 1):
        figure.update_yaxes(title="last val score, %", row=row, col=1)
    return figure.update_layout(height=90 + 250 * rows)
