"""Figures of a study's trials: curves, and scores against what was drawn. Accuracies are in %."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go

from search.log.study import Study
from search.log.trial import Trial
from search.reporting.curves import kind_of
from search.space.distribution import Distribution
from search.space.space import Space

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
GREY = "#b5b5b5"
GEOMETRY = {  # a metric of trials -> the title of its panel
    "train/loss_share": "loss share",
    "val/alignment": "alignment",
    "val/uniformity": "uniformity",
    "val/nc1": "NC1: within / between",
    "val/nc2_angles": "NC2: angles",
    "val/effective_rank": "effective rank",
}


def percent(values: list[float]) -> list[float]:
    """Fractions in %, as short as a figure needs them."""
    return [round(100 * value, 3) for value in values]


def curves(study: Study, arm: str, shade: str) -> go.Figure | None:
    """The validation score of an arm's trials against epochs, on the scale of all arms."""
    trials = [t for t in (*study.log.of(arm), *study.log.of(arm, "confirm")) if t.reports]
    if not trials:
        return None
    kinds = {
        "stopped": (GREY, "solid", 1.0),
        "completed": (shade, "solid", 1.4),
        "confirmed": ("#222222", "dot", 1.8),
    }
    figure = go.Figure()
    for kind, (line, dash, width) in kinds.items():
        x, y, names = _joined([t for t in trials if kind_of(t) == kind])
        figure.add_scatter(
            x=x, y=y, text=names, mode="lines+markers", marker={"size": 4},
            name={"confirmed": "winner on fresh seeds"}.get(kind, kind),
            line={"color": line, "dash": dash, "width": width},
            hovertemplate="%{text}, epoch %{x}: %{y:.2f} %<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="epoch")
    scores = [score for trial in study.log.trials.values() for score in trial.scores.values()]
    measure = "balanced val" if study.space.selection == "balanced" else "val"
    title = f"{measure} accuracy, linear probe, %"
    figure.update_yaxes(title=title, range=_range(percent(scores)))
    return figure.update_layout(title=arm, height=400)


def geometry(
    trials: Mapping[str, Trial], metric: str, shades: Mapping[str, str]
) -> go.Figure | None:
    """A metric of `GEOMETRY` against epochs, and dashed the same of the projections.

    Args:
        trials: one of each arm.
        metric: its name; older logs do not tell it.
        shades: colours of the arms.
    """
    figure = go.Figure()
    for arm, trial in trials.items():
        for name, dash in ((metric, "solid"), (metric.replace("/", "/projection_"), "dash")):
            told = {r.epoch: r.metrics[name] for r in trial.reports if name in r.metrics}
            if told:
                figure.add_scatter(
                    x=list(told), y=[float(f"{value:.5g}") for value in told.values()],
                    mode="lines+markers", marker={"size": 4},
                    line={"color": shades[arm], "dash": dash, "width": 1.6},
                    hovertemplate=f"{trial.name}, {name.partition('/')[2]}, "
                    "epoch %{x}: %{y}<extra></extra>",
                )  # fmt: skip
    if not figure.data:
        return None
    figure.update_xaxes(title="epoch")
    if metric == "val/nc1":  # falls by powers of ten
        figure.update_yaxes(type="log", tickformat="~g")
    elif metric != "val/uniformity":
        figure.update_yaxes(rangemode="tozero")
    return figure.update_layout(title=GEOMETRY[metric], height=250, showlegend=False)


def _range(values: list[float]) -> list[float]:
    """Ends of an axis, with room for the marks."""
    margin = max(0.05 * (max(values) - min(values)), 0.2)
    return [min(values) - margin, max(values) + margin]


def _joined(trials: list[Trial]) -> tuple[list[int | None], list[float | None], list[str]]:
    """Curves one after the other with gaps between them: one trace is drawn faster than many."""
    x: list[int | None] = []
    y: list[float | None] = []
    names: list[str] = []
    for trial in trials:
        x += [*trial.scores, None]
        y += [*percent(list(trial.scores.values())), None]
        names += [trial.name] * (len(trial.reports) + 1)
    return x, y, names


def parallel(space: Space, arm: str, trials: list[Trial], shade: str) -> go.Figure | None:
    """A line for every trial through its params to its last score; the best lie on top."""
    if len(trials) < 2:
        return None
    params = space.arm_params(arm)
    figure = go.Figure()
    scores = percent(_scores(trials))
    low, high = min(scores), max(scores)
    for trial, score in sorted(zip(trials, scores, strict=True), key=lambda item: item[1]):
        share = (score - low) / (high - low or 1)
        width = 2 if trial.is_completed else 1
        figure.add_scatter(
            x=list(range(len(params) + 1)), y=[*_positions(trial, params), share], mode="lines",
            connectgaps=True,  # past a param that it did not draw
            line={"color": _mixed(shade, share), "width": width},
            hovertemplate=f"{trial.name}: {score:.2f} %<extra></extra>",
        )  # fmt: skip
    marks = [*map(_marks, params.values()), {0.0: f"{low:.2f}", 1.0: f"{high:.2f}"}]
    for i, texts in enumerate(marks):
        for height, text in texts.items():
            figure.add_annotation(
                x=i, y=height + {0.0: -0.06, 1.0: 0.06}.get(height, 0), text=text,
                showarrow=False, font={"size": 11}, bgcolor="rgba(255,255,255,0.8)",
            )  # fmt: skip
        figure.add_vline(x=i, line={"color": "#cccccc", "width": 1})
    names = [*map(_short, params), "score, %"]
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    figure.update_xaxes(
        showgrid=False, showline=False, range=[-0.25, len(names) - 0.75],
        tickvals=list(range(len(names))), ticktext=names, ticklabeloverflow="allow",
    )  # fmt: skip
    return figure.update_layout(title=arm, height=390, showlegend=False, margin={"l": 10, "r": 35})


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


def _marks(distribution: Distribution) -> dict[float, str]:
    """Positions on an axis, 0 to 1 -> what is written there."""
    if distribution.kind == "choice":
        last = len(distribution.values) - 1
        return {i / last: str(_shown(value)) for i, value in enumerate(distribution.values)}
    low, high = distribution.values
    return {0.0: f"{low:.6g}", 1.0: f"{high:.6g}"}


def _mixed(shade: str, share: float) -> str:
    """From grey to an arm's colour, by score."""
    colour = (int(shade[i : i + 2], 16) for i in (1, 3, 5))
    r, g, b = (round(x + share**2 * (y - x)) for x, y in zip((212, 212, 212), colour, strict=True))
    return f"rgb({r},{g},{b})"


def slice_plot(
    key: str, distribution: Distribution, trials: list[Trial], shade: str
) -> go.Figure | None:
    """The last score of every trial against one of its params."""
    drawn = [t for t in trials if key in t.ask.params]
    if not drawn:
        return None
    figure = go.Figure()
    for kind, line in (("stopped", GREY), ("completed", shade)):
        own = [t for t in drawn if kind_of(t) == kind]
        figure.add_scatter(
            x=[_shown(t.ask.params[key]) for t in own], y=percent([t.score for t in own]),
            text=[f"{t.name}, epoch {t.reports[-1].epoch}" for t in own], mode="markers",
            name=kind, marker={"color": line, "size": 7, "opacity": 0.8},
            hovertemplate="%{text}<br>%{x}: %{y:.2f} %<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=_short(key), **_scale(distribution))
    figure.update_yaxes(title="last val score, %", range=_range(percent(_scores(trials))))
    return figure.update_layout(height=270, showlegend=False)


def _scores(trials: list[Trial]) -> list[float]:
    return [trial.score for trial in trials]


def _scale(distribution: Distribution) -> dict[str, Any]:
    """The axis on which a parameter is drawn."""
    if distribution.kind == "choice":
        return {"type": "category", "categoryarray": [_shown(v) for v in distribution.values]}
    if distribution.kind == "pow2":
        return {"type": "log", "tickvals": list(distribution.powers)}
    if not distribution.is_log:
        return {}
    low, high = distribution.values
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10**decade for decade in map(float, decades) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if 0.8 * low < tick < 1.25 * high]
    some = ticks if len(ticks) <= 7 else [tick for tick in ticks if f"{tick:e}"[0] == "1"]
    return {"type": "log", "tickvals": some, "ticktext": [f"{tick:g}" for tick in some]}


def _shown(value: Any) -> Any:
    """A drawn value as a figure shows it: numbers as they are, all else as text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else escape(json.dumps(value) if value is None else str(value))
