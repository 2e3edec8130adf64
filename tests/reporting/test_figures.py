"""Figures of a study: that they show what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.study import Study
from search.reporting import figures
from search.reporting.summarise import summarise
from search.reporting.summary import Picture, Summary
from search.reporting.tables import scored
from tests.reported import unsearched


def test_a_study_without_a_trial_has_hardly_a_figure(tmp_path: Path) -> None:
    study = unsearched(tmp_path)
    found = figures.all_figures(study, summarise(study))
    assert [name for name, figure in found.items() if figure() is not None] == ["rungs"]


def test_every_test_score_is_a_point_and_its_mean_lies_within_its_interval(
    summary: Summary,
) -> None:
    figure = figures.test_scores(summary)
    assert figure is not None
    tested = [test for _, _, _, test in scored(summary) if test]
    points, means = figure.data[::2], figure.data[1::2]
    assert len(points) == len(figure.layout.annotations) == len(tested) == 5
    for test, point, mean in zip(tested, points, means, strict=True):
        assert list(point.x) == pytest.approx([100 * score for score in test], abs=1e-3)
        assert mean.x[0] == pytest.approx(sum(point.x) / len(test), abs=1e-3)
        assert mean.error_x.array[0] > 0 < mean.error_x.arrayminus[0]
        assert mean.x[0] + mean.error_x.array[0] <= 100 + 1e-3


def test_classes_are_shown_by_their_difference_with_the_largest_first(summary: Summary) -> None:
    found = summary.per_class
    assert found is not None
    figure = figures.per_class(found)
    assert list(figure.data[0].x) == sorted(round(100 * d, 3) for d in found.difference)[::-1]
    assert sorted(figure.data[0].y) == ["&lt;owl&gt; (40)", "cat (40)", "dog (40)"]


def test_an_arm_has_its_own_colour_in_every_figure(summary: Summary) -> None:
    shades = {arm: figures.colour(summary, arm) for arm in summary.arms}
    assert len(set(shades.values())) == len(shades)
    for figure in (figures.rungs(summary), figures.importance(summary)):
        assert figure is not None
        assert [bar.marker.color for bar in figure.data] == list(shades.values())


def test_rungs_and_outcomes_count_all_trials_of_the_search(full: Study, summary: Summary) -> None:
    rungs, outcomes = figures.rungs(summary), figures.outcomes(summary)
    assert rungs is not None
    assert outcomes is not None
    for k, arm in enumerate(summary.arms):
        trials = full.log.of(arm)
        reached = [sum(epoch in t.scores for t in trials) for epoch in full.space.rungs]
        assert list(rungs.data[k].y) == reached
        ended = {bar.name: bar.x[k] for bar in outcomes.data}
        assert ended["infeasible"] == 1
        assert sum(ended.values()) == len(trials) == 20


def test_what_a_budget_bought_only_rises_and_what_is_expected_lies_in_its_band(
    summary: Summary,
) -> None:
    figure = figures.budget(summary)
    assert figure is not None
    bought, high, low, mean = figure.data[:4]
    assert list(bought.y) == sorted(bought.y)
    assert (bought.name, mean.name) == ("supcon, best so far", "supcon, random trials at epoch 1")
    for below, within, above in zip(low.y, mean.y, high.y, strict=True):
        assert below <= within <= above


def test_classes_of_a_picture_differ_in_colour_or_shape() -> None:
    n = 20
    plane = [(float(i), 0.0) for i in range(n)]
    names = [f"c{i}" for i in range(n)]
    picture = Picture(classes=names, labels=list(range(n)), encoder=plane, projection=None)
    figure = figures.tsne(picture, "encoder")
    assert figure is not None
    assert len({(own.marker.color, own.marker.symbol) for own in figure.data}) == n
    assert [own.x for own in figure.data] == [(x,) for x, _ in plane]
    assert figures.tsne(picture, "projection") is None
    assert figures.tsne(None, "encoder") is None
