"""Figures of a study: that they show what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.gallery.tsne import Picture
from search.log.study import Study
from search.reporting import figures
from search.reporting.summarise import summarise
from search.reporting.summary import Summary
from search.reporting.tables import scored
from tests.reported import unsearched
from tests.written import WrittenStudy


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


def test_of_several_comparisons_each_is_shown_with_the_interval_that_its_verdict_goes_by(
    three: tuple[WrittenStudy, Summary],
) -> None:
    summary = three[1]
    figure = figures.comparisons(summary)
    assert figure is not None
    shown = [each for each in figure.data if each.marker.symbol == "circle"]
    for point, each in zip(shown, summary.verdict.comparisons, strict=True):
        assert each.difference is not None
        assert each.interval is not None
        low, high = each.interval
        assert point.x[0] == pytest.approx(100 * each.difference, abs=1e-3)
        assert point.x[0] + point.error_x.array[0] == pytest.approx(100 * high, abs=2e-3)
        assert point.x[0] - point.error_x.arrayminus[0] == pytest.approx(100 * low, abs=2e-3)
        assert point.marker.color == figures.colour(summary, str(each.a))
    heads = [each.name for each in figure.data if each.marker.symbol == "circle-open"]
    assert heads == ["supcon minus ce's head", "sincere minus ce's head"]


def test_a_single_comparison_needs_no_figure(summary: Summary) -> None:
    assert figures.comparisons(summary) is None


def test_six_arms_have_six_colours(summary: Summary) -> None:
    arms = dict.fromkeys("abcdef", summary.arms["ce"])
    six = summary.model_copy(update={"arms": arms})
    assert len({figures.colour(six, arm) for arm in arms}) == 6


def test_each_comparison_is_shown_class_by_class(three: tuple[WrittenStudy, Summary]) -> None:
    study, summary = three
    names = [name for name in figures.all_figures(study, summary) if name.startswith("per_class")]
    assert names == ["per_class/supcon", "per_class/sincere"]
    titles = [figures.per_class(each).layout.xaxis.title.text for each in summary.classes]
    assert titles == ["supcon minus ce, points", "sincere minus ce, points"]
