"""The statistics of a difference, against simpler formulas where those hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from search.verdict import Difference, compare, sentence

Correct = npt.NDArray[np.bool_]


def draw(seed: int, n_seeds: int, n_images: int, p: float = 0.9) -> Correct:
    return np.random.default_rng(seed).random((n_seeds, n_images)) < p


def shared_difficulty(seed: int, n_seeds: int, n_images: int) -> tuple[Correct, Correct]:
    """Two arms whose images are equally hard for both, so that images add no variance."""
    rng = np.random.default_rng(seed)
    easy = rng.random(n_images)
    return rng.random((n_seeds, n_images)) < easy, rng.random((n_seeds, n_images)) < easy


def test_variance_is_that_of_the_formula_written_out() -> None:
    a, b = draw(0, 4, 50, 0.8), draw(1, 3, 50, 0.7)
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


def test_without_image_variance_it_is_welchs_t_test() -> None:
    for seed in range(50):
        a, b = shared_difficulty(seed, 5, 2000)
        within = a.var(axis=0, ddof=1).mean() / 5 + b.var(axis=0, ddof=1).mean() / 5
        if (a.mean(0) - b.mean(0)).var(ddof=1) <= within:
            welch = stats.ttest_ind(a.mean(1), b.mean(1), equal_var=False)
            assert compare(a, b).p_value == pytest.approx(welch.pvalue)
            return
    pytest.fail("no draw without image variance")


def test_order_of_seeds_and_images_does_not_matter() -> None:
    a, b = draw(0, 3, 200), draw(1, 3, 200)
    order = np.random.default_rng(2).permutation(200)
    assert compare(a[::-1][:, order], b[:, order]).p_value == pytest.approx(compare(a, b).p_value)


def test_swapping_the_arms_changes_the_sign_only() -> None:
    a, b = draw(0, 3, 200), draw(1, 3, 200)
    there, back = compare(a, b), compare(b, a)
    assert back.difference == pytest.approx(-there.difference)
    assert back.p_value == pytest.approx(there.p_value)


def test_identical_arms_show_no_difference() -> None:
    same = np.repeat(draw(0, 1, 100), 3, axis=0)
    assert compare(same, same) == Difference(0.0, (0.0, 0.0), 1.0, 3)


def test_fewer_than_three_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 seeds"):
        compare(draw(0, 2, 100), draw(1, 3, 100))


@pytest.mark.parametrize(
    ("ci", "head", "words"),
    [
        ((0.01, 0.03), None, "supcon beats ce (+2.00 points"),
        ((0.01, 0.03), (0.001, 0.02), "supcon beats ce"),
        ((0.01, 0.03), (-0.01, 0.02), "no difference shown"),
        ((-0.01, 0.03), (0.01, 0.02), "no difference shown"),
        ((-0.03, -0.01), (0.01, 0.02), "ce beats supcon"),
    ],
)
def test_supcon_wins_only_if_it_beats_probe_and_head(
    ci: tuple[float, float], head: tuple[float, float] | None, words: str
) -> None:
    probes = Difference(sum(ci) / 2, ci, 0.01, 3)
    text = sentence("supcon", "ce", probes, head and Difference(sum(head) / 2, head, 0.01, 3))
    assert words in text
    assert text.startswith("These two configurations on this split")
