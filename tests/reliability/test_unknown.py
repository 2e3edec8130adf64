"""What tells unknown images from known ones, against slow loops, scikit-learn and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from supcon.reliability.unknown import (
    auroc,
    doubt,
    energy,
    fpr_at_recall,
    kth_distance,
    threshold_for,
)


def scores(seed: int, n_values: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Of known and unknown images; of few different values: ties within and between them."""
    rng = np.random.default_rng(seed)
    known, unknown = rng.normal(size=83), rng.normal(0.7, 1.5, size=41)
    if n_values is None:
        return known, unknown
    return (np.floor(each * n_values / 4) for each in (known, unknown))  # type: ignore[return-value]


@pytest.mark.parametrize("n_values", [None, 20, 3])
@pytest.mark.parametrize("seed", range(3))
def test_auroc_is_that_of_scikit_learn_and_of_a_loop_over_all_pairs(
    seed: int, n_values: int | None
) -> None:
    known, unknown = scores(seed, n_values)
    pairs = [(u > k) + 0.5 * (u == k) for u in unknown for k in known]
    is_unknown = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    found = auroc(known, unknown)
    assert found == pytest.approx(np.mean(pairs))
    assert found == pytest.approx(roc_auc_score(is_unknown, np.r_[known, unknown]))


@pytest.mark.parametrize("n_values", [None, 20, 3])
@pytest.mark.parametrize("recall", [0.5, 0.95, 1.0])
def test_false_positives_at_a_recall_are_those_of_scikit_learn(
    n_values: int | None, recall: float
) -> None:
    known, unknown = scores(0, n_values)
    is_known = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    fpr, tpr, _ = roc_curve(is_known, -np.r_[known, unknown], drop_intermediate=False)
    assert fpr_at_recall(known, unknown, recall) == pytest.approx(fpr[tpr >= recall - 1e-12][0])


def test_scores_without_any_difference_tell_nothing() -> None:
    same = np.zeros(20)
    assert auroc(same, same[:7]) == 0.5
    assert fpr_at_recall(same, same[:7]) == 1


def test_scores_that_part_all_tell_all() -> None:
    known, unknown = np.arange(20.0), np.arange(30.0, 35.0)
    assert (auroc(known, unknown), fpr_at_recall(known, unknown)) == (1, 0)
    assert (auroc(unknown, known), fpr_at_recall(unknown, known)) == (0, 1)


def test_twenty_known_images_pass_but_for_the_one_that_5_percent_allow() -> None:
    known = np.arange(20.0)
    assert fpr_at_recall(known, np.array([18.0, 18.5, 19.0])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("block", [2**26, 50])
def test_the_distance_to_the_kth_neighbour_equals_a_slow_loop(
    monkeypatch: pytest.MonkeyPatch, k: int, block: int
) -> None:
    monkeypatch.setattr("supcon.reliability.unknown.BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(n, 5, generator=generator) for n in (30, 9))
    found = kth_distance(bank, queries, k)
    for query, distance in zip(queries.double(), found.tolist(), strict=True):
        each = sorted(
            math.dist((query / query.norm()).tolist(), (x / x.norm()).tolist())
            for x in bank.double()
        )
        assert distance == pytest.approx(each[min(k, 30) - 1], abs=1e-3)


def test_energy_and_doubt_are_those_of_the_formulas() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    sums = [sum(math.exp(x) for x in row) for row in logits.tolist()]
    assert energy(logits).tolist() == pytest.approx([-math.log(s) for s in sums])
    highest = [math.exp(max(row)) / s for row, s in zip(logits.tolist(), sums, strict=True)]
    assert doubt(logits).tolist() == pytest.approx([-math.log(p) for p in highest])


def test_doubt_still_orders_images_whose_probability_is_rounded_to_1() -> None:
    surer, sure = doubt(torch.tensor([[60.0, 0.0], [50.0, 0.0]])).tolist()
    assert 0 <= surer < sure


@pytest.mark.parametrize("n", [30, 99, 1000])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_further_image_is_above_the_threshold_at_most_as_often_as_asked(
    n: int, rate: float
) -> None:
    rng, alarms = np.random.default_rng(n), []
    for _ in range(2000):
        limit = threshold_for(rng.exponential(size=n), rate)
        assert limit is not None
        alarms.append(np.exp(-limit))  # the probability that another one is above
    mean, error = np.mean(alarms), np.std(alarms) / np.sqrt(len(alarms))
    assert mean <= rate + 3 * error
    assert mean >= rate - 1 / (n + 1) - 3 * error  # and no rarer than the images allow


def test_too_few_images_promise_nothing() -> None:
    assert threshold_for(np.arange(18.0), 0.05) is None
    assert threshold_for(np.arange(19.0), 0.05) == 18
    assert threshold_for(np.empty(0), 0.5) is None
