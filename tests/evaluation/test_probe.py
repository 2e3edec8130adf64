"""The linear probe against scikit-learn, and cross-fitting against a slow loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from supcon.config import AverageConfig
from supcon.evaluation import probe
from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.probe import Fitted, LinearProbe, cross_fit, fit_probe, fit_probe_by_sgd
from supcon.recipe import lr_range
from supcon.recipe.averaging import Averages
from supcon.recipe.lr_range import RangeTest

Clouds = tuple[Tensor, Tensor, Tensor, Tensor]


def clouds(n: int = 90, *, spread: float, seed: int = 0) -> Clouds:
    """Train and val points of three classes around three centres, in features of unlike scale."""
    rng = np.random.default_rng(seed)
    centres, scale = rng.normal(size=(3, 5)), np.array([1, 10, 0.1, 1, 3])
    parts: list[Tensor] = []
    for _ in range(2):
        labels = np.arange(n) % 3
        points = (centres[labels] + spread * rng.normal(size=(n, 5))) * scale + 2
        parts += [torch.tensor(points, dtype=torch.float32), torch.tensor(labels)]
    return parts[0], parts[1], parts[2], parts[3]


def fit(data: Clouds, penalties: Sequence[float]) -> Fitted:
    return fit_probe(*data, classes=3, penalties=penalties, max_iter=200)


def cross_fitted_accuracy(correct: Tensor, labels: Tensor) -> float:
    """Of candidates that are right or not, (L, M)."""
    chosen = cross_fit(correct, labels)
    return correct[chosen, torch.arange(len(labels))].double().mean().item()


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-4])
def test_probe_agrees_with_scikit_learn(l2: float) -> None:
    train_x, train_y, val_x, val_y = data = clouds(spread=1.5)
    fitted = fit(data, [l2])
    ours = fitted.probe
    assert ours.candidate == f"{l2:g}"

    x = train_x.double().numpy()
    mean, std = x.mean(0), x.std(0, ddof=1)
    # It minimises C * sum of losses + |w|^2 / 2; ours is mean of losses + l2 / 2 * |w|^2.
    theirs = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-10, max_iter=10_000)
    theirs.fit((x - mean) / std, train_y.numpy())
    np.testing.assert_allclose(ours.weight.numpy(), theirs.coef_, rtol=1e-3, atol=1e-4)
    # A constant added to all biases changes nothing.
    bias = ours.bias.numpy() - ours.bias.numpy().mean()
    np.testing.assert_allclose(
        bias, theirs.intercept_ - theirs.intercept_.mean(), rtol=1e-3, atol=1e-4
    )
    predicted = theirs.predict((val_x.double().numpy() - mean) / std)
    assert ours.predict(val_x).tolist() == predicted.tolist()
    assert fitted.predictions.tolist() == predicted.tolist()
    assert fitted.top1 == (predicted == val_y.numpy()).mean()


def test_each_penalty_gets_the_optimum_of_its_own() -> None:
    # Penalties are solved one after the other, each from the last one's solution.
    data = clouds(spread=1.5)
    val_x, val_y = data[2], data[3]
    alone = [fit(data, [l2]).probe for l2 in (1.0, 1e-2, 1e-4)]
    together = fit(data, [1e-4, 1.0, 1e-2]).probe
    (same,) = (each for each in alone if each.candidate == together.candidate)
    torch.testing.assert_close(together.weight, same.weight, rtol=1e-3, atol=1e-4)
    best = max((each.predict(val_x) == val_y).sum() for each in alone)
    assert (together.predict(val_x) == val_y).sum() == best


def test_separable_classes_are_told_apart_and_ties_go_to_the_stronger_penalty() -> None:
    fitted = fit(clouds(spread=0.01), [1e-4, 1e-2, 1e-3])
    assert fitted.top1 == 1
    assert fitted.probe.candidate == "0.01"


def test_probe_does_not_care_for_the_scale_of_features() -> None:
    train_x, train_y, val_x, val_y = clouds(spread=1.5)
    plain = fit((train_x, train_y, val_x, val_y), [1e-2]).probe
    scaled = fit((train_x * 1000 - 7, train_y, val_x * 1000 - 7, val_y), [1e-2]).probe
    assert torch.equal(scaled.predict(val_x * 1000 - 7), plain.predict(val_x))
    torch.testing.assert_close(scaled.weight, plain.weight, rtol=1e-3, atol=1e-4)


def test_a_feature_that_never_changes_does_no_harm() -> None:
    train_x, train_y, val_x, val_y = clouds(spread=0.01)
    dead = torch.zeros(len(train_x), 1)
    train_x, val_x = torch.cat([train_x, dead], 1), torch.cat([val_x, dead], 1)
    fitted = fit((train_x, train_y, val_x, val_y), [1e-2])
    assert fitted.top1 == 1
    assert fitted.probe.weight.isfinite().all()


def test_a_decomposition_that_does_not_converge_in_fp32_is_done_in_fp64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LAPACK gave up where 62 of 96 features were dead, after training at a high learning rate."""
    x, y = torch.randn(300, 8, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 3
    x[:, 0] += 3 * y
    x[:, 5:] = 0
    arguments: Any = {"classes": 3, "penalties": [1e-2], "max_iter": 200}
    expected = fit_probe(x[:200], y[:200], x[200:], y[200:], **arguments)
    eigh = torch.linalg.eigh

    def fails_in_fp32(matrix: Tensor) -> Any:
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("no")  # type: ignore[attr-defined]
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", fails_in_fp32)
    found = fit_probe(x[:200], y[:200], x[200:], y[200:], **arguments)
    assert torch.equal(found.predictions, expected.predictions)
    torch.testing.assert_close(found.probe.weight, expected.probe.weight, atol=1e-3, rtol=1e-3)


def test_a_probe_without_a_gradient_context_still_learns() -> None:
    with torch.no_grad():
        assert fit(clouds(spread=0.01), [1e-2]).top1 == 1


# By SGD


def fit_by_sgd(data: Clouds, **changes: Any) -> Fitted:
    options: dict[str, Any] = {
        "classes": 3,
        "epochs": 10,
        "batch_size": 16,
        "lr": 0.1,
        "label_smoothing": 0.0,
        "average": AverageConfig(),
        "seed": 0,
    }
    return fit_probe_by_sgd(*data, **(options | changes))


def only(name: str) -> AverageConfig:
    """What makes `name` a candidate; raw weights always are."""
    return AverageConfig(
        ema_half_life=0.5 if name == "ema" else 0, swa_start=0.75 if name == "swa" else 1
    )


def assert_same(a: Fitted, b: Fitted) -> None:
    assert a.top1 == b.top1
    assert a.probe.candidate == b.probe.candidate
    assert torch.equal(a.predictions, b.predictions)
    for name in ("mean", "std", "weight", "bias"):
        assert torch.equal(getattr(a.probe, name), getattr(b.probe, name)), name


@pytest.mark.parametrize("lr", [0.1, None])
def test_sgd_tells_separable_classes_apart(lr: float | None) -> None:
    data = clouds(spread=0.01)
    fitted = fit_by_sgd(data, epochs=30, lr=lr)
    assert fitted.top1 == 1
    assert fitted.probe.predict(data[2]).tolist() == data[3].tolist()


@pytest.mark.parametrize("lr", [0.1, None])
def test_sgd_without_a_gradient_context_still_learns(lr: float | None) -> None:
    with torch.no_grad():
        assert fit_by_sgd(clouds(spread=0.01), epochs=20, lr=lr).top1 == 1


@pytest.mark.parametrize("lr", [0.1, None])
def test_sgd_repeats_bit_for_bit_whatever_the_global_random_numbers_are(lr: float | None) -> None:
    data = clouds(spread=1.5)
    torch.manual_seed(1)
    first = fit_by_sgd(data, lr=lr)
    torch.manual_seed(2)
    assert_same(fit_by_sgd(data, lr=lr), first)


def test_sgd_goes_through_the_features_in_the_order_of_its_seed() -> None:
    data = clouds(spread=1.5)
    weights = [fit_by_sgd(data, epochs=1, seed=seed).probe.weight for seed in (0, 1)]
    assert not torch.equal(*weights)


def test_sgd_ends_where_logistic_regression_does() -> None:
    # Clouds that overlap have an optimum without any penalty. A batch is all there is, so that no
    # noise of the order is left.
    data = clouds(spread=1.5)
    options: dict[str, Any] = {"batch_size": 90, "lr": 0.5, "average": only("raw")}
    by_sgd = fit_by_sgd(data, epochs=2000, **options)
    by_lbfgs = fit_probe(*data, classes=3, penalties=[1e-9], max_iter=500)
    torch.testing.assert_close(
        by_sgd.probe.weight.double() - by_sgd.probe.weight.double().mean(0),
        by_lbfgs.probe.weight - by_lbfgs.probe.weight.mean(0),
        rtol=1e-3,
        atol=1e-3,
    )
    assert by_sgd.predictions.tolist() == by_lbfgs.predictions.tolist()


@pytest.mark.parametrize(
    ("half_life", "swa_start", "candidates"),
    [
        (0.5, 0.5, ["raw", "ema", "swa"]),
        (0.5, 1.0, ["raw", "ema"]),
        (0.0, 0.5, ["raw", "swa"]),
        (0.0, 1.0, ["raw"]),
    ],
)
def test_raw_weights_and_the_averages_that_are_switched_on_are_candidates(
    monkeypatch: pytest.MonkeyPatch, half_life: float, swa_start: float, candidates: list[str]
) -> None:
    seen = candidates_seen(monkeypatch)
    average = AverageConfig(ema_half_life=half_life, swa_start=swa_start)
    chosen = fit_by_sgd(clouds(spread=1.5), average=average).probe.candidate
    assert [candidate.candidate for candidate in seen] == candidates
    assert chosen in candidates


def candidates_seen(monkeypatch: pytest.MonkeyPatch) -> list[LinearProbe]:
    """Filled with the candidates of the next probe that is fitted."""
    seen: list[LinearProbe] = []
    choose = probe._choose

    def spy(
        probes: Sequence[LinearProbe], val_x: Tensor, val_y: Tensor, *, balanced: bool
    ) -> Fitted:
        seen.extend(probes)
        return choose(probes, val_x, val_y, balanced=balanced)

    monkeypatch.setattr(probe, "_choose", spy)
    return seen


def test_swa_of_the_probe_is_the_mean_of_its_tail_of_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = candidates_seen(monkeypatch)
    passed: list[tuple[float, Tensor]] = []
    after_epoch = Averages.after_epoch

    def spy(self: Averages, model: torch.nn.Module, progress: float) -> None:
        assert isinstance(model, torch.nn.Linear)
        passed.append((progress, model.weight.detach().clone()))
        after_epoch(self, model, progress)

    monkeypatch.setattr(Averages, "after_epoch", spy)
    fit_by_sgd(clouds(spread=1.5), epochs=4, average=AverageConfig(swa_start=0.5))
    assert [progress for progress, _ in passed] == [0.25, 0.5, 0.75, 1.0]
    tail = torch.stack([weight for progress, weight in passed if progress > 0.5])
    torch.testing.assert_close(seen[2].weight, tail.mean(0))


def test_without_a_learning_rate_the_range_test_finds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[RangeTest] = []
    range_test = lr_range.range_test

    def spy(*arguments: Any, **options: Any) -> RangeTest:
        found.append(range_test(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(lr_range, "range_test", spy)
    data = clouds(spread=0.01)
    fitted = fit_by_sgd(data, lr=None, average=only("raw"))
    (test,) = found
    assert 1e-4 < test.suggestion < 10
    assert fitted.top1 == 1
    # It starts from scratch with that rate, only in another order.
    again = fit_by_sgd(data, lr=test.suggestion, average=only("raw"))
    assert 0.8 < fitted.probe.weight.norm() / again.probe.weight.norm() < 1.2
    assert len(found) == 1


def test_label_smoothing_of_sgd_reaches_the_loss() -> None:
    # Without it the weights of separable classes grow for ever; with it they settle.
    data = clouds(spread=0.01)
    plain, smooth = (
        fit_by_sgd(data, epochs=200, label_smoothing=smoothing, average=only("raw")).probe
        for smoothing in (0.0, 0.2)
    )
    assert smooth.weight.norm() < 0.7 * plain.weight.norm()
    x = (data[0] - smooth.mean) / smooth.std
    shares = (x @ smooth.weight.T + smooth.bias).softmax(1)
    right = shares[torch.arange(len(x)), data[1]]
    torch.testing.assert_close(right, torch.full_like(right, 0.8 + 0.2 / 3), rtol=0.02, atol=0)


@pytest.mark.parametrize("method", ["lbfgs", "sgd"])
def test_top1_is_the_accuracy_of_the_cross_fitted_predictions(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    data = clouds(spread=2.0, seed=4)
    seen = candidates_seen(monkeypatch)
    if method == "sgd":
        fitted = fit_by_sgd(data, epochs=3, lr=5.0, seed=1)  # it jumps about
    else:
        fitted = fit(data, [10.0, 1e-2, 1e-4])
    predictions = torch.stack([candidate.predict(data[2]) for candidate in seen])
    chosen = cross_fit(predictions == data[3], data[3])
    assert len(chosen.unique()) == 2  # the halves disagree about the best
    assert fitted.predictions.tolist() == [
        int(predictions[chosen[m], m]) for m in range(len(data[3]))
    ]
    assert fitted.top1 == accuracy(fitted.predictions, data[3])
    assert fitted.top1 < accuracy(fitted.probe.predict(data[2]), data[3])


@pytest.mark.parametrize("batch_size", [90, 91, 512])
def test_sgd_takes_a_batch_of_more_features_than_there_are(batch_size: int) -> None:
    fitted = fit_by_sgd(clouds(spread=0.01), epochs=50, batch_size=batch_size)
    assert fitted.top1 == 1


def test_sgd_ignores_the_scale_of_features() -> None:
    train_x, train_y, val_x, val_y = clouds(spread=1.5)
    plain = fit_by_sgd((train_x, train_y, val_x, val_y))
    scaled = fit_by_sgd((train_x * 1000 - 7, train_y, val_x * 1000 - 7, val_y))
    assert torch.equal(scaled.predictions, plain.predictions)


# Cross-fitting


def slow_cross_fit(correct: list[list[bool]], labels: list[int]) -> float:
    """Halves: a class's images in turn. Each half is scored by what is best on the other."""
    turn: dict[int, int] = {}
    half = []
    for label in labels:
        turn[label] = turn.get(label, 0) + 1
        half.append(turn[label] % 2)
    right = 0
    for mine in (0, 1):
        counts = [sum(row[m] for m in range(len(labels)) if half[m] != mine) for row in correct]
        chosen = correct[counts.index(max(counts))]
        right += sum(chosen[m] for m in range(len(labels)) if half[m] == mine)
    return right / len(labels)


@pytest.mark.parametrize("seed", range(5))
def test_cross_fitted_accuracy_equals_a_slow_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (20,), generator=generator)
    # An even number of images a class: the slow loop and ours may name the halves differently.
    labels = torch.cat([labels, labels])[torch.randperm(40, generator=generator)]
    correct = torch.rand(4, 40, generator=generator) < 0.6
    expected = slow_cross_fit(correct.tolist(), labels.tolist())
    assert cross_fitted_accuracy(correct, labels) == pytest.approx(expected, abs=1e-12)


def test_no_image_helps_to_choose_the_penalty_it_is_scored_with() -> None:
    # Each candidate is right on one half only, so the best on a half is wrong on the other.
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    first = torch.tensor([True, False, True, False, True, False])
    assert cross_fitted_accuracy(torch.stack([first, ~first]), labels) == 0


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]])
def test_either_half_has_every_second_image_of_a_class(labels: list[int]) -> None:
    y = torch.tensor(labels)
    # Right on class 0 or on class 1: stratified halves agree that it is a tie, and the first wins.
    correct = torch.stack([y == 0, y == 1])
    assert cross_fitted_accuracy(correct, y) == 0.5
    # The second candidate is better by one image a half.
    better = correct.clone()
    better[1, (y == 0).nonzero()[:2]] = True
    assert cross_fitted_accuracy(better, y) == 0.75


def test_ties_of_candidates_go_to_the_first() -> None:
    labels = torch.tensor([0, 0, 0, 0])
    equal = torch.tensor([[True, True, False, False], [False, False, True, True]])
    assert cross_fitted_accuracy(equal, labels) == 0.5
    assert cross_fitted_accuracy(torch.stack([equal[0], equal[0]]), labels) == 0.5
    # On either half candidates 0 and 1 tie; where 0 is right all along, that must be what counts.
    right = torch.tensor([[True, True, True, True], [True, True, True, True], [False] * 4])
    assert cross_fitted_accuracy(right, labels) == 1


def test_a_single_candidate_is_scored_by_its_accuracy() -> None:
    correct = torch.tensor([[True, False, True, True, False]])
    assert cross_fitted_accuracy(correct, torch.tensor([0, 1, 0, 1, 2])) == pytest.approx(0.6)


def slow_balanced_cross_fit(correct: list[list[bool]], labels: list[int]) -> list[int]:
    """The candidate of each image: the one with the best mean of the classes' shares."""
    turn: dict[int, int] = {}
    half = []
    for label in labels:
        turn[label] = turn.get(label, 0) + 1
        half.append(turn[label] % 2)
    best = {}
    for mine in (0, 1):
        worth = []
        for row in correct:
            shares = []
            for k in sorted(set(labels)):
                own = [m for m, label in enumerate(labels) if label == k and half[m] != mine]
                shares.append(sum(row[m] for m in own) / len(own))
            worth.append(sum(shares))
        best[mine] = worth.index(max(worth))
    return [best[h] for h in half]


@pytest.mark.parametrize("seed", range(5))
def test_the_best_by_balanced_accuracy_equals_a_slow_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0] * 30 + [1] * 8 + [2] * 2)[torch.randperm(40, generator=generator)]
    correct = torch.rand(4, 40, generator=generator) < 0.6
    found = cross_fit(correct, labels, balanced=True)
    assert found.tolist() == slow_balanced_cross_fit(correct.tolist(), labels.tolist())


def test_a_candidate_that_serves_the_rare_class_is_chosen_by_balanced_accuracy_alone() -> None:
    labels = torch.tensor([0] * 16 + [1] * 4)
    correct = torch.stack([labels == 0, (labels == 1) | (torch.arange(20) < 12)])
    assert cross_fit(correct, labels).tolist() == [0] * 20
    assert cross_fit(correct, labels, balanced=True).tolist() == [1] * 20
