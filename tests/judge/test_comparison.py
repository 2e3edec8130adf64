"""The statistics of a difference, against simpler formulas where those hold."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from search.judge.comparison import compare, compare_values, detectable_with, equal_parts, value_of
from search.judge.difference import Difference
from search.judge.sentence import sentence
from tests.benchmarks.calibration import Cell, simulate, simulate_groups

Correct = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]

quick = settings(derandomize=True, max_examples=60, deadline=None)


@st.composite
def studies(draw: st.DrawFn, min_seeds: int = 3, min_images: int = 2) -> tuple[Correct, Correct]:
    """Both arms of a study, of any accuracy; degenerate ones among them."""
    n_images = draw(st.integers(min_images, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    hard = rng.random(n_images) * draw(st.sampled_from([0.0, 0.5, 1.0]))
    arms = []
    for _ in range(2):
        accuracy, more = draw(st.sampled_from([0.0, 0.5, 0.95, 1.0])), draw(st.integers(0, 3))
        chance = np.clip(accuracy + hard - hard.mean(), 0, 1)
        arms.append(rng.random((min_seeds + more, n_images)) < chance)
    return arms[0], arms[1]


def random_arm(seed: int, n_seeds: int, n_images: int, p: float = 0.9) -> Correct:
    return np.random.default_rng(seed).random((n_seeds, n_images)) < p


def shared_difficulty(seed: int, n_seeds: int, n_images: int) -> tuple[Correct, Correct]:
    """Two arms whose images are equally hard for both, so that images add no variance."""
    rng = np.random.default_rng(seed)
    easy = rng.random(n_images)
    return rng.random((n_seeds, n_images)) < easy, rng.random((n_seeds, n_images)) < easy


def test_variance_is_that_of_the_formula_written_out() -> None:
    a, b = random_arm(0, 4, 50, 0.8), random_arm(1, 3, 50, 0.7)
    found = compare(a, b)
    g = [a[:, i].mean() - b[:, i].mean() for i in range(50)]
    e_a = np.mean([np.var(a[:, i], ddof=1) for i in range(50)])
    e_b = np.mean([np.var(b[:, i], ddof=1) for i in range(50)])
    v_a, v_b = np.var(a.mean(1), ddof=1) / 4, np.var(b.mean(1), ddof=1) / 3
    v_i = max(0.0, np.var(g, ddof=1) - (e_a / 4 + e_b / 3)) / 50
    variance = v_a + v_b + v_i
    df = variance**2 / (v_a**2 / 3 + v_b**2 / 2 + v_i**2 / 49)
    low, high = stats.t.interval(0.95, df, loc=np.mean(g), scale=np.sqrt(variance))
    assert found.difference == pytest.approx(np.mean(g))
    assert found.ci95 == pytest.approx((low, high))
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    unbiased = np.sqrt(variance * df / stats.chi2.median(df))
    assert found.detectable == pytest.approx(
        unbiased * (stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df))
    )


def test_without_image_variance_it_is_welchs_t_test() -> None:
    for seed in range(50):
        a, b = shared_difficulty(seed, 5, 2000)
        within = a.var(axis=0, ddof=1).mean() / 5 + b.var(axis=0, ddof=1).mean() / 5
        if (a.mean(0) - b.mean(0)).var(ddof=1) <= within:
            welch = stats.ttest_ind(a.mean(1), b.mean(1), equal_var=False)
            found = compare(a, b)
            assert found.p_value == pytest.approx(welch.pvalue)
            assert found.ci95 == pytest.approx(tuple(welch.confidence_interval()))
            return
    pytest.fail("no draw without image variance")


@quick
@given(studies(), st.integers(0, 1000))
def test_order_of_seeds_and_images_does_not_matter(
    arms: tuple[Correct, Correct], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(arms[0].shape[1])
    shuffled = [rng.permutation(arm)[:, order] for arm in arms]
    found, again = compare(*arms), compare(*shuffled)
    assert _numbers(again) == pytest.approx(_numbers(found), rel=1e-6, abs=1e-12)


@quick
@given(studies())
def test_swapping_the_arms_changes_the_sign_only(arms: tuple[Correct, Correct]) -> None:
    there, back = compare(*arms), compare(*arms[::-1])
    low, high = there.ci95
    mirrored = Difference(-there.difference, (-high, -low), *astuple(there)[2:])
    assert _numbers(back) == pytest.approx(_numbers(mirrored), rel=1e-6, abs=1e-12)


@quick
@given(studies())
def test_the_interval_holds_the_difference_and_agrees_with_the_p_value(
    arms: tuple[Correct, Correct],
) -> None:
    found = compare(*arms)
    low, high = found.ci95
    assert all(map(math.isfinite, _numbers(found)))
    assert low <= found.difference <= high
    assert (found.p_value < 0.05) == (low > 0 or high < 0)
    assert (found.detectable == 0) == (found.standard_error == 0) == (low == high)


def _numbers(d: Difference) -> list[float]:
    return [d.difference, *d.ci95, d.p_value, d.n_seeds, d.standard_error, d.detectable]


def test_identical_arms_show_no_difference() -> None:
    same = np.repeat(random_arm(0, 1, 100), 3, axis=0)
    assert compare(same, same) == Difference(0.0, (0.0, 0.0), 1.0, 3, 0.0, 0.0)


def test_arms_that_differ_on_all_images_differ_for_certain() -> None:
    right, wrong = np.ones((3, 100), bool), np.zeros((4, 100), bool)
    assert compare(right, wrong) == Difference(1.0, (1.0, 1.0), 0.0, 3, 0.0, 0.0)


def test_equal_seeds_that_err_on_different_images_give_no_certainty() -> None:
    # One error a seed in A, none in B: the seeds' accuracies do not vary, the terms are all 0.
    a, b = ~np.eye(3, 100, dtype=bool), np.ones((3, 100), bool)
    found = compare(a, b)
    assert found.difference == pytest.approx(-0.01)
    assert found.standard_error == pytest.approx(0.01 / math.sqrt(3))
    assert found.p_value > 0.05


@pytest.mark.parametrize(("n_a", "n_b", "images"), [(2, 3, 100), (3, 2, 100), (3, 3, 1)])
def test_too_few_seeds_or_images_are_refused(n_a: int, n_b: int, images: int) -> None:
    with pytest.raises(ValueError, match="at least 3 seeds"):
        compare(random_arm(0, n_a, images), random_arm(1, n_b, images))


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="on the same"):
        compare(random_arm(0, 3, 100), random_arm(1, 3, 99))


@pytest.mark.parametrize(("n_seeds", "n_images"), [(3, 60), (4, 200)])
def test_planned_for_as_many_seeds_and_images_is_what_they_show(
    n_seeds: int, n_images: int
) -> None:
    # Seeds that differ by more than chance, so that their variance has a part of its own.
    rng = np.random.default_rng(3)
    a, b = (
        rng.random((n_seeds, n_images)) < np.linspace(0.4, 0.95, n_seeds)[:, None] for _ in range(2)
    )
    assert detectable_with(a, b, n_seeds, n_images) == pytest.approx(compare(a, b).detectable)


@quick
@given(studies(min_seeds=2, min_images=20), st.integers(3, 9))
def test_more_seeds_make_smaller_differences_detectable(
    arms: tuple[Correct, Correct], n_seeds: int
) -> None:
    few, more = (detectable_with(*arms, n, 1000) for n in (n_seeds, n_seeds + 1))
    assert 0 <= more <= few < math.inf
    no_seed_differs = all((arm == arm[0]).all() for arm in arms)
    assert more < few or no_seed_differs


def test_four_times_the_images_halve_what_is_there_by_draws() -> None:
    # Every seed is right on half the images, and always on others: seeds differ by draws alone.
    a, b = (
        np.random.default_rng(seed).permuted(np.tile([True, False], (3, 50)), axis=1)
        for seed in (0, 1)
    )
    assert detectable_with(a, b, 5, 40_000) == pytest.approx(
        detectable_with(a, b, 5, 10_000) / 2, rel=1e-3
    )


@pytest.mark.parametrize(("n_a", "n_seeds", "n_images"), [(1, 3, 100), (2, 2, 100), (2, 3, 1)])
def test_planning_refuses_what_allows_no_verdict(n_a: int, n_seeds: int, n_images: int) -> None:
    with pytest.raises(ValueError, match="seeds"):
        detectable_with(random_arm(0, n_a, 50), random_arm(1, 2, 50), n_seeds, n_images)


@pytest.mark.slow
def test_simulated_studies_raise_few_false_alarms() -> None:
    row = simulate(Cell(5, 360, "images", 0.8), 300, np.random.default_rng(0))
    assert row.false_alarms < 0.1
    assert row.different < 0.1 < row.different_welch  # the images count
    assert row.power is not None
    assert row.power > 0.7
    assert row.planned == pytest.approx(row.detectable, rel=0.5)


# Groups


def grouped_arms(seed: int, sizes: list[int]) -> tuple[Correct, Correct, npt.NDArray[np.int64]]:
    """Two arms of 4 and 3 seeds, each right or wrong on much the same groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    arms = [rng.random((n, len(groups))) < rng.random(len(sizes))[groups] for n in (4, 3)]
    return arms[0], arms[1], groups


def test_variance_over_groups_is_that_of_the_formula_written_out() -> None:
    a, b, groups = grouped_arms(0, [3, 1, 7, 2, 5, 5, 2])
    n, g = 25, 7
    total = of_seeds = 0.0
    for k in range(g):
        inside = groups == k
        mean = 0.0
        for sign, arm in ((1, a), (-1, b)):
            beyond = [seed[inside].sum() - inside.sum() * seed.mean() for seed in arm]
            mean += sign * float(np.mean(beyond))
            of_seeds += float(np.var(beyond, ddof=1)) / len(arm)
        total += mean**2
    v_i = max(0.0, total - of_seeds) * g / (g - 1) / n**2
    assert v_i > 0
    v_a, v_b = np.var(a.mean(1), ddof=1) / 4, np.var(b.mean(1), ddof=1) / 3
    sizes = np.bincount(groups)
    freedom = (sizes**2).sum() ** 2 / (sizes**4).sum() - 1
    variance = v_a + v_b + v_i
    df = variance**2 / (v_a**2 / 3 + v_b**2 / 2 + v_i**2 / freedom)
    found = compare(a, b, groups)
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.ci95 == pytest.approx(
        stats.t.interval(0.95, df, loc=a.mean() - b.mean(), scale=math.sqrt(variance))
    )
    assert found.n_groups == g


def test_groups_of_one_image_each_are_images() -> None:
    rng = np.random.default_rng(0)
    easy, hard = (np.arange(300) < n_right for n_right in (270, 150))

    def seeds(*blocks: npt.NDArray[np.bool_]) -> Correct:
        """Each has as many right, so that none of them shifts all."""
        return np.stack([np.concatenate([rng.permutation(b) for b in blocks]) for _ in range(3)])

    a, b = seeds(easy, hard), seeds(hard, easy)
    found, plain = compare(a, b, np.arange(600)), compare(a, b)
    assert plain.standard_error > 0.01
    assert _numbers(found) == pytest.approx(_numbers(plain), rel=0.01)


@pytest.mark.parametrize("copies", [2, 10])
def test_copies_of_images_in_one_group_are_no_evidence(copies: int) -> None:
    a, b, _ = grouped_arms(1, [1] * 40)
    once = compare(a, b, np.arange(40))
    a, b = (np.repeat(arm, copies, axis=1) for arm in (a, b))
    again = compare(a, b, np.repeat(np.arange(40), copies))
    assert _numbers(again) == pytest.approx(_numbers(once))
    assert compare(a, b).standard_error < 0.9 * once.standard_error


def test_a_study_may_beat_by_images_and_show_nothing_by_groups() -> None:
    """Six patients of 60 images; the arms differ on two of them."""
    groups = np.repeat(np.arange(6), 60)
    rng = np.random.default_rng(2)
    chance = np.where(groups < 2, 0.95, 0.75)
    a = rng.random((5, 360)) < chance
    b = rng.random((5, 360)) < np.where(groups < 2, 0.75, 0.75)
    assert "a beats b" in sentence("a", "b", compare(a, b), None)
    by_groups = sentence("a", "b", compare(a, b, groups), None)
    assert "no difference shown" in by_groups
    assert "5 seeds each, test images in 6 groups" in by_groups


def test_planning_takes_groups_into_account() -> None:
    a, b, groups = grouped_arms(3, [10] * 30)
    by_images = detectable_with(a, b, 5, 300)
    assert detectable_with(a, b, 5, 300, groups) > 1.3 * by_images


def test_a_single_group_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 groups"):
        compare(random_arm(0, 3, 9), random_arm(1, 3, 9), np.zeros(9, dtype=np.int64))


def test_grouped_studies_are_calibrated_where_counting_images_is_not() -> None:
    row = simulate_groups(5, "60 of 6", 0.8, 150, np.random.default_rng(0))
    assert row.different <= 0.09  # of 150, where 5 % are expected
    assert row.by_images >= 0.15


# Balanced accuracy

SIZES = [40, 15, 3]


def unequal_arms(seed: int, sizes: list[int] = SIZES) -> tuple[Correct, Correct, Labels]:
    """Arms of 3 and 4 seeds, worse on rarer classes; images in a random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    a, b = (rng.random((n, len(labels))) < 0.9 - 0.2 * labels for n in (3, 4))
    return a, b, labels


def slow_balanced(row: npt.NDArray[np.bool_], labels: Labels) -> float:
    shares = []
    for k in sorted(set(labels.tolist())):
        own = [bool(right) for right, label in zip(row, labels, strict=True) if label == k]
        shares.append(sum(own) / len(own))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_variance_is_that_of_the_formula_written_out(seed: int) -> None:
    a, b, labels = unequal_arms(seed)
    found = compare(a, b, labels=labels)
    scores_a, scores_b = ([slow_balanced(row, labels) for row in arm] for arm in (a, b))
    terms = [(float(np.var(s, ddof=1)) / len(s), len(s) - 1.0) for s in (scores_a, scores_b)]
    total, spread, freedom = 0.0, 0.0, 0.0
    for k, n in enumerate(SIZES):
        own = [i for i in range(len(labels)) if labels[i] == k]
        g = [a[:, i].mean() - b[:, i].mean() for i in own]
        e_a, e_b = (np.mean([np.var(arm[:, i], ddof=1) for i in own]) for arm in (a, b))
        whole = np.var(g, ddof=1) / n / 9
        total += whole - (e_a / 3 + e_b / 4) / n / 9
        spread, freedom = spread + whole, freedom + whole**2 / (n - 1)
    terms.append((max(0.0, float(total)), float(spread**2 / freedom)))
    variance = sum(v for v, _ in terms)
    df = variance**2 / sum(v**2 / f for v, f in terms)
    mean = np.mean(scores_a) - np.mean(scores_b)
    assert found.difference == pytest.approx(mean, abs=1e-12)
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    assert found.ci95 == pytest.approx(stats.t.interval(0.95, df, mean, np.sqrt(variance)))


def test_the_images_share_of_a_balanced_variance_is_that_of_drawing_each_class_anew() -> None:
    """Seeds that agree leave the images alone to vary: a slow bootstrap within the classes."""
    rng = np.random.default_rng(0)
    a, b, labels = unequal_arms(0, [200, 60, 25])
    a, b = (np.repeat(arm[:1], 3, axis=0) for arm in (a, b))
    own = [np.flatnonzero(labels == k) for k in range(3)]
    g = a[0].astype(float) - b[0]
    means = [
        np.mean([g[rng.choice(images, len(images))].mean() for images in own]) for _ in range(4000)
    ]
    assert compare(a, b, labels=labels).standard_error == pytest.approx(np.std(means), rel=0.05)


@quick
@given(studies(min_images=4), st.integers(2, 4))
def test_of_equal_classes_the_difference_is_that_in_accuracy(
    arms: tuple[Correct, Correct], classes: int
) -> None:
    n = arms[0].shape[1] // classes * classes
    a, b = (arm[:, :n] for arm in arms)
    labels = np.arange(n) % classes
    found, plain = compare(a, b, labels=labels), compare(a, b)
    assert found.difference == pytest.approx(plain.difference, abs=1e-12)
    assert all(map(math.isfinite, _numbers(found)))
    assert found.ci95[0] <= found.difference <= found.ci95[1]


@quick
@given(studies())
def test_of_a_single_class_all_is_as_in_accuracy(arms: tuple[Correct, Correct]) -> None:
    found = compare(*arms, labels=np.zeros(arms[0].shape[1], np.int64))
    assert _numbers(found) == pytest.approx(_numbers(compare(*arms)), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("sizes", [[30, 1], [30, 10, 1], [30, 1, 1], [1, 1]])
def test_classes_of_a_single_image_make_no_difference_certain(sizes: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    a, b = np.ones((3, len(labels)), bool), np.ones((3, len(labels)), bool)
    b[:, -1] = False  # the rarest class is wrong in one arm
    found = compare(a, b, labels=labels)
    assert found.difference == pytest.approx(1 / len(sizes))
    assert found.ci95[0] < 0


def test_planned_for_as_many_images_of_each_class_is_what_they_show() -> None:
    # Seeds that differ by more than chance, as above.
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), SIZES)
    a, b = (rng.random((3, len(labels))) < np.linspace(0.4, 0.95, 3)[:, None] for _ in range(2))
    found = detectable_with(a, b, 3, len(labels), labels=labels)
    assert found == pytest.approx(compare(a, b, labels=labels).detectable)
    assert detectable_with(a, b, 3, 10 * len(labels), labels=labels) < found


# Both


def test_balanced_variance_over_groups_is_that_of_the_formula_written_out() -> None:
    _, _, labels = unequal_arms(0)
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 9, len(labels))
    a, b = (rng.random((n, len(labels))) < rng.random(9)[groups] for n in (3, 4))
    total = of_seeds = 0.0
    weights = [
        sum(1 / (3 * SIZES[label]) for label in labels[groups == k].tolist()) for k in range(9)
    ]
    for k in range(9):
        inside = np.flatnonzero(groups == k).tolist()
        mean = 0.0
        for sign, arm in ((1, a), (-1, b)):
            beyond = []
            for seed in arm:
                share = {label: seed[labels == label].mean() for label in range(3)}
                beyond.append(
                    sum((seed[i] - share[labels[i]]) / (3 * SIZES[labels[i]]) for i in inside)
                )
            mean += sign * float(np.mean(beyond))
            of_seeds += float(np.var(beyond, ddof=1)) / len(arm)
        total += mean**2
    v_i = max(0.0, total - of_seeds) * 9 / 8
    assert v_i > 0
    v_a, v_b = (
        np.var([slow_balanced(row, labels) for row in arm], ddof=1) / len(arm) for arm in (a, b)
    )
    variance = v_a + v_b + v_i
    freedom = sum(w**2 for w in weights) ** 2 / sum(w**4 for w in weights) - 1
    df = variance**2 / (v_a**2 / 2 + v_b**2 / 3 + v_i**2 / freedom)
    found = compare(a, b, groups, labels=labels)
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.ci95 == pytest.approx(
        stats.t.interval(0.95, df, loc=found.difference, scale=math.sqrt(variance))
    )
    assert found.difference == compare(a, b, labels=labels).difference
    assert found.n_groups == 9


# Any measure, block by block


def random_values(seed: int, n_seeds: int, n_blocks: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    of_block = np.random.default_rng(7).normal(size=n_blocks)
    shifts = 0.2 * rng.normal(size=(n_seeds, 1))
    return of_block + shifts + 0.3 * rng.normal(size=(n_seeds, n_blocks))


def test_variance_of_values_is_that_of_the_formula_written_out() -> None:
    a, b, n_blocks = random_values(0, 4, 12), random_values(1, 3, 12) * 1.5, 12
    found = compare_values(a, b)
    g = [a[:, j].mean() - b[:, j].mean() for j in range(n_blocks)]
    u = [
        sum(np.var([run[j] - run.mean() for run in arm], ddof=1) for j in range(n_blocks))
        / (n_blocks - 1)
        for arm in (a, b)
    ]
    terms = [np.var(arm.mean(1), ddof=1) / len(arm) for arm in (a, b)]
    terms.append(max(0.0, np.var(g, ddof=1) - u[0] / 4 - u[1] / 3) / n_blocks)
    assert min(terms) > 0
    df = sum(terms) ** 2 / sum(v**2 / f for v, f in zip(terms, (3, 2, 11), strict=True))
    low, high = stats.t.interval(0.95, df, loc=np.mean(g), scale=np.sqrt(sum(terms)))
    assert found.difference == pytest.approx(np.mean(g))
    assert found.ci95 == pytest.approx((low, high))
    assert found.n_seeds == 3


def test_accuracy_block_by_block_is_compared_as_in_groups_of_one_size() -> None:
    a, b = random_arm(0, 4, 60, 0.8), random_arm(1, 3, 60, 0.6)
    groups = np.arange(60) % 12
    blocks_a, blocks_b = (
        np.stack([arm[:, groups == j].mean(1) for j in range(12)], axis=1) for arm in (a, b)
    )
    found, expected = compare_values(blocks_a, blocks_b), compare(a, b, groups)
    assert _numbers(found) == pytest.approx(_numbers(expected))


def test_where_blocks_are_unequal_fewer_are_counted() -> None:
    assert equal_parts(np.full(7, 0.3)) == pytest.approx(7)
    weights = np.array([100.0, 1, 1, 1])
    assert equal_parts(weights) == pytest.approx(1, abs=0.01)
    a, b = random_values(0, 4, 12), random_values(1, 3, 12) * 1.5
    found, fewer = compare_values(a, b), compare_values(a, b, 3.0)
    assert fewer.standard_error == found.standard_error
    assert fewer.freedom < found.freedom
    assert fewer.p_value > found.p_value
    assert _numbers(compare_values(a, b, 12.0)) == pytest.approx(_numbers(found))


def test_a_value_of_its_own_has_the_interval_of_its_seeds_and_blocks() -> None:
    a = random_values(0, 4, 12)
    found = value_of(a)
    u = (a - a.mean(1, keepdims=True)).var(axis=0, ddof=1).sum() / 11
    over_seeds = a.mean(1).var(ddof=1) / 4
    over_blocks = max(0.0, a.mean(0).var(ddof=1) - u / 4) / 12
    assert found.difference == pytest.approx(a.mean())
    assert found.standard_error == pytest.approx(np.sqrt(over_seeds + over_blocks))
    df = found.standard_error**4 / (over_seeds**2 / 3 + over_blocks**2 / 11)
    half = stats.t.ppf(0.975, df) * found.standard_error
    assert found.ci95 == pytest.approx((a.mean() - half, a.mean() + half))


def test_values_that_never_vary_are_known_for_certain() -> None:
    same = np.full((3, 5), 0.25)
    assert compare_values(same, same) == Difference(0.0, (0.0, 0.0), 1.0, 3, 0.0, 0.0)
    assert value_of(same).ci95 == (0.25, 0.25)


def test_values_of_two_seeds_or_of_other_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 seeds"):
        value_of(random_values(0, 2, 12))
    with pytest.raises(ValueError, match="on the same 2 or more images"):
        compare_values(random_values(0, 3, 12), random_values(0, 3, 11))
