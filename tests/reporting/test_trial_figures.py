"""Figures of a study's trials: curves, and scores against what was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.log.study import Study
from search.reporting.trial_figures import PALETTE, curves, geometry, parallel, slice_plot
from tests.written import WrittenStudy

SHADE = "#D55E00"


def test_every_trial_is_a_curve_of_its_own_on_the_scale_of_all_arms(full: Study) -> None:
    figures = [curves(full, arm, SHADE) for arm in full.arms]
    for arm, figure in zip(full.arms, figures, strict=True):
        assert figure is not None
        gaps = {each.name: list(each.y).count(None) for each in figure.data}
        n_completed = sum(trial.is_completed for trial in full.log.of(arm))
        assert gaps == {
            "stopped": 20 - n_completed, "completed": n_completed, "winner on fresh seeds": 3,
        }  # fmt: skip
    supcon, ce = (figure.layout.yaxis.range for figure in figures if figure)
    assert supcon == ce
    scores = [100 * s for trial in full.log.trials.values() for s in trial.scores.values()]
    assert supcon[0] < min(scores) < max(scores) < supcon[1]


def test_an_arm_without_a_report_has_no_curves(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    study.ask("ce", 0)
    assert curves(study, "ce", SHADE) is None


def test_geometry_is_a_line_of_each_arm_and_a_dashed_one_of_its_projections(tmp_path: Path) -> None:
    losses = ("supcon", "sincere", "ce")
    arms = {f"a{i}": {"loss.name": loss} for i, loss in enumerate(losses)}
    study = WrittenStudy(tmp_path, arms=arms)
    for i, arm in enumerate(study.arms):
        study.ask(arm, 0)
        for epoch in (1, 3, 9):
            metrics = {"val/probe_top1": 0.5, "val/nc1": i + 1 / epoch}
            metrics |= {"val/projection_nc1": 0.1} if i == 2 else {}
            study.report(arm, 0, epoch, 0.5, metrics=metrics if epoch > 1 or i else {})
    trials = {arm: next(iter(study.log.of(arm))) for arm in study.arms}
    shades = dict(zip(study.arms, PALETTE, strict=False))
    figure = geometry(trials, "val/nc1", shades)
    assert figure is not None
    drawn = [(line.line.color, line.line.dash, list(line.x), list(line.y)) for line in figure.data]
    third = 0.33333
    assert drawn == [
        (PALETTE[0], "solid", [3, 9], pytest.approx([third, 0.11111])),
        (PALETTE[1], "solid", [1, 3, 9], pytest.approx([2, 1.3333, 1.1111])),
        (PALETTE[2], "solid", [1, 3, 9], pytest.approx([3, 2.3333, 2.1111])),
        (PALETTE[2], "dash", [1, 3, 9], [0.1] * 3),
    ]
    assert figure.layout.yaxis.type == "log"
    assert geometry(trials, "val/alignment", shades) is None  # an older log does not tell


def test_a_line_leads_past_params_that_a_trial_did_not_draw(full: Study) -> None:
    figure = parallel(full.space, "ce", list(full.log.of("ce")), SHADE)
    assert figure is not None
    assert any(None in line.y for line in figure.data)
    assert all(line.connectgaps and line.y[-1] is not None for line in figure.data)


def test_lines_lie_within_their_ranges_and_the_best_on_top(full: Study) -> None:
    trials = list(full.log.of("supcon"))
    figure = parallel(full.space, "supcon", trials, SHADE)
    assert figure is not None
    ends = [line.y[-1] for line in figure.data]
    assert (ends[0], ends[-1]) == (0, 1)
    assert ends == sorted(ends)
    assert all(0 <= y <= 1 for line in figure.data for y in line.y if y is not None)
    assert figure.data[-1].hovertemplate.startswith(max(trials, key=lambda t: t.score).name)
    assert parallel(full.space, "supcon", trials[:1], SHADE) is None


def test_a_param_is_shown_against_the_scores_of_those_trials_that_drew_it(full: Study) -> None:
    trials = list(full.log.of("ce"))
    key = "optim.momentum"
    figure = slice_plot(key, full.space.arm_params("ce")[key], trials, SHADE)
    assert figure is not None
    drew = [trial for trial in trials if "optim.momentum" in trial.ask.params]
    assert 0 < len(drew) < len(trials)
    shown = [xy for part in figure.data for xy in zip(part.x, part.y, strict=True)]
    assert sorted(shown) == sorted(
        (trial.ask.params["optim.momentum"], round(100 * trial.score, 3)) for trial in drew
    )


@pytest.mark.parametrize(
    ("distribution", "value", "kind", "ticks"),
    [
        ({"loguniform": [0.01, 1]}, 0.1, "log", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)),
        ({"loguniform": [1e-5, 1]}, 0.1, "log", (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1)),
        ({"uniform": [0.01, 1]}, 0.1, None, None),
    ],
)
def test_an_axis_has_the_scale_on_which_its_param_is_drawn(
    tmp_path: Path, distribution: Any, value: float, kind: str | None, ticks: Any
) -> None:
    key = "optim.lr_per_256"
    study = WrittenStudy(tmp_path, params={key: distribution})
    study.ask("ce", 0, params={key: value})
    study.report("ce", 0, 9, 0.5)
    study.end("ce", 0, "completed")
    drawn = study.space.arm_params("ce")[key]
    figure = slice_plot(key, drawn, list(study.log.of("ce")), SHADE)
    assert figure is not None
    assert figure.layout.xaxis.type == kind
    assert figure.layout.xaxis.tickvals == (ticks and pytest.approx(ticks))


def test_no_value_as_a_choice_is_shown_as_null(tmp_path: Path) -> None:
    key = "optim.clip_norm"
    study = WrittenStudy(tmp_path, params={key: {"choice": [None, 0.5]}})
    for number, value in enumerate([None, 0.5]):
        study.ask("ce", number, params={key: value})
        study.report("ce", number, 9, 0.5)
        study.end("ce", number, "completed")
    drawn = study.space.arm_params("ce")[key]
    figure = slice_plot(key, drawn, list(study.log.of("ce")), SHADE)
    assert figure is not None
    assert figure.layout.xaxis.type == "category"
    assert {x for part in figure.data for x in part.x} == {"null", 0.5}
    assert tuple(figure.layout.xaxis.categoryarray) == ("null", 0.5)
