"""Confident learning, against the paper's formulas as slow loops, and on flipped labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from supcon.evaluation.label_errors import (
    FOLDS,
    Floats,
    Labels,
    _folds,
    confident_joint,
    find_label_errors,
    out_of_sample,
)


def noisy(seed: int, n: int = 60, classes: int = 4) -> tuple[Floats, Labels]:
    """Probabilities that mostly agree with the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + np.eye(classes)[labels]
    weights = np.exp(logits)
    return weights / weights.sum(1, keepdims=True), labels


def flipped(labels: Labels, share: float, classes: int, seed: int = 0) -> tuple[Labels, Labels]:
    """Labels with some of them another one, and which."""
    rng = np.random.default_rng(seed)
    wrong = np.sort(rng.choice(len(labels), round(share * len(labels)), replace=False))
    given = labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return given, wrong


@pytest.mark.parametrize("seed", range(5))
def test_the_confident_joint_equals_the_loop_of_the_paper(seed: int) -> None:
    p, labels = noisy(seed)
    threshold = [np.mean([row[j] for row, y in zip(p, labels, strict=True) if y == j])
                 for j in range(4)]  # fmt: skip
    joint = np.zeros((4, 4), int)
    for row, y in zip(p, labels, strict=True):
        above = [j for j in range(4) if row[j] >= threshold[j]]
        if above:
            joint[y, max(above, key=lambda j: row[j])] += 1
    assert (joint.diagonal() > 0).all()
    assert confident_joint(p, labels).tolist() == joint.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_suspects_are_pruned_by_noise_rate_and_ranked_by_margin(seed: int) -> None:
    p, labels = noisy(seed)
    joint, expected = confident_joint(p, labels), set()
    for i in range(4):
        own = [n for n in range(len(labels)) if labels[n] == i]
        for j in set(range(4)) - {i}:
            wanted = round(len(own) * joint[i, j] / joint[i].sum())
            expected |= set(sorted(own, key=lambda n: p[n, i] - p[n, j])[:wanted])
    margin = [p[n, y] - max(p[n, k] for k in range(4) if k != y) for n, y in enumerate(labels)]
    ranked = sorted((n for n in expected if margin[n] < 0), key=lambda n: margin[n])
    found = find_label_errors(p, labels)
    assert ranked
    assert found.doubtful[found.is_probable[found.doubtful]].tolist() == ranked
    doubtful = sorted((n for n in range(len(p)) if margin[n] < 0), key=lambda n: margin[n])
    assert found.doubtful.tolist() == doubtful
    assert found.margin == pytest.approx(margin)
    assert found.self_confidence == pytest.approx(p[np.arange(len(p)), labels])
    assert found.predicted.tolist() == p.argmax(1).tolist()


def test_where_all_agree_nothing_is_suspected() -> None:
    labels = np.arange(30) % 3
    p = np.full((30, 3), 0.05) + 0.85 * np.eye(3)[labels]
    found = find_label_errors(p, labels)
    assert found.doubtful.tolist() == []
    assert not found.is_probable.any()


def test_a_class_that_the_probe_is_never_sure_of_is_held_to_its_own_standard() -> None:
    """Of class 1 it says 0.55 at most; an image that was given 0 and has that is confidently 1."""
    labels = np.array([0] * 10 + [1] * 10)
    p_1 = np.array([0.05] * 9 + [0.6] + [0.55] * 10)
    assert confident_joint(np.stack([1 - p_1, p_1], 1), labels).tolist() == [[9, 1], [0, 10]]


def test_a_class_that_was_never_given_is_predicted_of_none() -> None:
    p, labels = noisy(0)
    p, labels = p[labels != 2], labels[labels != 2]
    joint = confident_joint(p, labels)
    assert joint[:, 2].sum() == joint[2, 2] == 1


def test_no_image_has_a_probability_by_a_probe_that_has_seen_it() -> None:
    """Labels that mean nothing, of features that can tell each image: in sample all are right."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 100, generator=generator)
    y = torch.randint(0, 2, (80,), generator=generator)
    p = out_of_sample(x, y, classes=2, penalties=[1e-3], max_iter=50, seed=0)
    assert 0.3 < (p.argmax(1) == y).double().mean().item() < 0.7
    assert torch.allclose(p.sum(1), torch.ones(80, dtype=torch.float64))


def test_the_penalty_is_the_one_with_the_least_cross_entropy_out_of_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 100, generator=generator)
    y = torch.randint(0, 2, (80,), generator=generator)
    weak, strong, either = (
        out_of_sample(x, y, classes=2, penalties=some, max_iter=50, seed=0)
        for some in ([1e-4], [10.0], [1e-4, 10.0])
    )
    assert torch.allclose(either, strong)
    assert not torch.allclose(either, weak)


def test_folds_have_as_many_of_each_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 3)[torch.randperm(63)]
    fold = _folds(labels, seed=1)
    counts = torch.stack([fold[labels == k].bincount(minlength=FOLDS) for k in range(3)])
    assert counts[:2].tolist() == [[10] * 5, [2] * 5]
    assert counts[2].max() == 1
    assert not torch.equal(fold, _folds(labels, seed=2))


def test_flipped_labels_of_digits_are_found() -> None:
    bunch = load_digits()
    x, y = torch.tensor(bunch.data), bunch.target.astype(np.int64)
    given, wrong = flipped(y, 0.02, classes=10)
    p = out_of_sample(x, torch.tensor(given), classes=10, penalties=[1e-2], max_iter=40, seed=0)
    found = find_label_errors(p.numpy(), given)
    is_wrong = np.isin(np.arange(len(y)), wrong)
    hits = is_wrong & found.is_probable
    # With three seeds of the flips: recall 0.72 to 0.81, precision 0.74 to 0.87.
    assert hits.sum() / len(wrong) > 0.65
    assert hits.sum() / found.is_probable.sum() > 0.65
    assert is_wrong[found.doubtful[:18]].mean() > 0.85  # the most suspicious ones
    assert is_wrong[found.doubtful].sum() == len(wrong)
