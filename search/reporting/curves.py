"""The picture of report.md: the score of every trial against epochs, an arm a panel, as SVG."""

from __future__ import annotations

import io

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.log.study import Study
from search.log.trial import Trial
from supcon.evaluation.lettering import quiet_about_glyphs

STYLES = {  # what a line is: colour, width in points, dashes
    "stopped": ("#b8b8b8", 0.9, "-"),
    "completed": ("#1f77b4", 1.2, "-"),
    "confirmed": ("#d62728", 1.5, "--"),
}


def draw_curves(study: Study) -> str:
    """The picture; scores of both arms share one scale."""
    figure = Figure(figsize=(4.7 * len(study.arms), 3.7), layout="constrained")
    panels = figure.subplots(1, len(study.arms), sharey=True, squeeze=False)[0]
    for arm, axes in zip(study.arms, panels, strict=True):
        _draw_arm(study, arm, axes)
    panels[0].set_ylabel(f"{study.space.selection_metric} in %")
    handles = [
        panels[0].plot([], [], color=colour, linewidth=width, linestyle=dashes, label=kind)[0]
        for kind, (colour, width, dashes) in STYLES.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(STYLES), frameon=False)
    out = io.StringIO()
    salt = study.name  # the same study, the same file; and whoever looks at it draws its text
    with quiet_about_glyphs(), rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _draw_arm(study: Study, arm: str, axes: Axes) -> None:
    runs = [*study.log.of(arm), *study.log.of(arm, "confirm")]
    for kind, (colour, width, dashes) in STYLES.items():  # the important ones last, on top
        for trial in runs:
            if kind_of(trial) == kind:
                scores = [100 * score for score in trial.scores.values()]
                axes.plot(
                    list(trial.scores), scores, color=colour, linewidth=width, linestyle=dashes,
                    marker="o", markersize=3,
                )  # fmt: skip
    axes.set(title=arm, xlabel="epochs", xlim=(0, 1.02 * study.space.rungs[-1]))
    axes.set_xticks(study.space.rungs)
    axes.grid(axis="x", color="#dddddd")


def kind_of(trial: Trial) -> str:
    """As which line a trial is drawn, one of `STYLES`."""
    if trial.ask.phase == "confirm":
        return "confirmed"
    return "completed" if trial.is_completed else "stopped"
