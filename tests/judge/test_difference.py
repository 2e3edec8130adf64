"""A difference by itself and as one of several, against scipy and the textbook."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from search.judge.difference import Difference, detectable, estimate, holm, mean_interval, methods

quick = settings(derandomize=True, max_examples=60, deadline=None)
scores = st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), min_size=3, max_size=8)
differences = st.builds(
    lambda d, v, df, n: estimate(d / 1000, [(v / 1e6, df)], n),
    st.integers(-60, 60), st.sampled_from([0, 25, 100, 400]), st.floats(2, 40), st.just(5),
)  # fmt: skip
families = st.lists(differences, min_size=2, max_size=6)


def textbook(p_values: Sequence[float], m: int) -> tuple[list[bool], list[float]]:
    """Holm 1979 as it is written: p_(1) against alpha / m, p_(2) against alpha / (m - 1), ... until
    one is not smaller; what is rejected, and the level of each. Those not there have p = 1.
    """
    rejected, levels = [False] * len(p_values), [0.0] * len(p_values)
    ranked = sorted((p, i) for i, p in enumerate(p_values))
    stopped = None
    for k, (p, i) in enumerate(ranked, start=1):
        levels[i] = 0.05 / (m - k + 1) if stopped is None else stopped
        rejected[i] = stopped is None and p < levels[i]
        if stopped is None and not rejected[i]:
            stopped = levels[i]
    return rejected, levels


@quick
@given(families, st.integers(0, 2))
def test_several_are_judged_as_holm_has_it_in_the_textbook(
    found: list[Difference], to_come: int
) -> None:
    m = len(found) + to_come
    judged = holm(found, m)
    shown, levels = textbook([d.p_value for d in found], m)
    assert [d.is_shown for d in judged] == shown
    assert [d.judged.level for d in judged if d.judged] == pytest.approx(levels)
    assert [d.judged.comparisons for d in judged if d.judged] == [m] * len(found)


@quick
@given(families)
def test_the_interval_of_each_leaves_out_0_exactly_where_its_p_value_is_below_its_level(
    found: list[Difference],
) -> None:
    for one in holm(found, len(found)):
        assert one.judged is not None
        low, high = one.interval
        assert (low > 0 or high < 0) == (one.p_value < one.judged.level)
        assert low <= one.ci95[0] <= one.difference <= one.ci95[1] <= high


@quick
@given(families)
def test_what_is_shown_stays_shown_when_those_that_were_to_come_are_there(
    found: list[Difference],
) -> None:
    before, after = holm(found[:-1], len(found)), holm(found, len(found))
    assert all(now.is_shown for then, now in zip(before, after, strict=False) if then.is_shown)


@quick
@given(families.filter(lambda found: len({d.p_value for d in found}) == len(found)))
def test_several_are_judged_alike_in_any_order(found: list[Difference]) -> None:
    assert holm(found[::-1], len(found))[::-1] == holm(found, len(found))


def test_a_single_comparison_is_as_it_is() -> None:
    one = estimate(0.01, [(1e-5, 4.0)], 5)
    assert holm([one], 1) == [one]
    assert one.judged is None
    assert (one.interval, one.smallest) == (one.ci95, one.detectable)
    assert holm([], 0) == []


def test_one_of_several_has_the_interval_of_students_t_at_its_level() -> None:
    one = estimate(0.01, [(9e-6, 4.0)], 5)
    judged = one.one_of(3, 0.05 / 3).judged
    oracle = stats.t.interval(1 - 0.05 / 3, 4.0, loc=0.01, scale=0.003)
    assert judged is not None
    assert judged.interval == pytest.approx(oracle)
    assert judged.detectable == pytest.approx(detectable(0.003, 4.0, 4.0, 0.05 / 3))
    assert judged.detectable > one.detectable


def test_a_head_is_judged_at_the_level_of_its_probe() -> None:
    probe, head = estimate(0.01, [(1e-6, 4.0)], 5), estimate(0.005, [(1e-6, 4.0)], 5)
    assert head.judged_as(probe) == head
    again = head.judged_as(probe.one_of(2, 0.025))
    assert again == head.one_of(2, 0.025)


def test_without_variance_all_levels_have_the_same_point() -> None:
    for one in holm([estimate(0.0, [(0.0, 1.0)], 3), estimate(0.1, [(0.0, 1.0)], 3)], 2):
        assert one.interval == (one.difference, one.difference)
        assert one.is_shown == (one.difference != 0)
        assert one.smallest == 0


def test_more_comparisons_than_there_are_to_be_are_refused() -> None:
    with pytest.raises(ValueError, match="2 of 1 comparisons"):
        holm([estimate(0.0, [(1.0, 1.0)], 3)] * 2, 1)


def test_a_difference_judged_by_itself_says_nothing_of_others_in_a_file() -> None:
    from pydantic import TypeAdapter

    one, adapter = estimate(0.01, [(9e-6, 4.0)], 5), TypeAdapter(Difference)
    keys = [*adapter.dump_python(one)]
    assert keys == [
        "difference", "ci95", "p_value", "n_seeds", "standard_error", "detectable", "n_groups",
    ]  # fmt: skip
    assert adapter.dump_python(one.one_of(2, 0.025))["judged"]["level"] == 0.025


@quick
@given(scores.filter(lambda values: min(values) < max(values)))
def test_methods_is_the_t_test_of_one_sample(differences: list[float]) -> None:
    found, oracle = methods(differences), stats.ttest_1samp(differences, 0)
    assert found.difference == pytest.approx(np.mean(differences), abs=1e-12)
    assert found.p_value == pytest.approx(oracle.pvalue)
    assert found.ci95 == pytest.approx(tuple(oracle.confidence_interval()))
    assert found.standard_error == pytest.approx(stats.sem(differences))
    assert found.n_seeds == len(differences)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0), (-0.1, 0.0)])
def test_searches_that_all_find_the_same_leave_no_interval(value: float, p: float) -> None:
    assert methods([value] * 3) == Difference(value, (value, value), p, 3, 0.0, 0.0)


def test_two_searches_say_nothing_about_methods() -> None:
    with pytest.raises(ValueError, match="at least 3 searches"):
        methods([0.01, 0.02])


@quick
@given(scores.filter(lambda values: min(values) < max(values)))
def test_interval_of_a_mean_is_scipys(values: list[float]) -> None:
    oracle = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(oracle, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "interval"), [([], None), ([0.9], None), ([0.1] * 3, (0.1, 0.1))]
)
def test_interval_of_a_mean_of_few_or_equal_values(
    values: list[float], interval: tuple[float, float] | None
) -> None:
    assert mean_interval(values) == interval


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    for function in (methods, mean_interval):
        with pytest.raises(ValueError, match="finite"):
            function([0.5, 0.5, bad])
