"""Scores of a network's weights: which there are, of what, and what scoring leaves alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supcon.collapse import PROJECTED, SPREAD
from supcon.config import Config, override
from supcon.evaluation import scores as scoring
from supcon.evaluation.accuracy import accuracy, balanced_accuracy
from supcon.evaluation.embedding import Embedded, embed
from supcon.evaluation.knn import knn_predict
from supcon.evaluation.probe import Fitted
from supcon.evaluation.scores import NonFinite, Scores, score
from supcon.evaluation.spread import geometry_metrics, spread_metrics
from supcon.images.policy import resolve
from supcon.images.split import Split, Splits
from supcon.images.views_by_image import one_view
from supcon.network.models import Network, network_for
from supcon.recipe.averaging import reestimate_batchnorm
from supcon.seeds import derive_seed
from tests.waiting import Calls

CPU = torch.device("cpu")


def network(config: Config, data: Splits) -> Network:
    torch.manual_seed(0)
    return network_for(config, data)


def scores(config: Config, data: Splits) -> Scores:
    return score(network(config, data), config, data, CPU)


def embedded(net: Network, images: Any) -> Embedded:
    return embed(net, images, device=CPU, autocast=nullcontext)


@dataclass(frozen=True)
class Call:
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any


def spy_on(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Call]:
    """Filled with the calls that scoring makes to the function."""
    calls: list[Call] = []
    function: Callable[..., Any] = getattr(scoring, name)

    def spy(*arguments: Any, **options: Any) -> Any:
        calls.append(Call(arguments, options, function(*arguments, **options)))
        return calls[-1].result

    monkeypatch.setattr(scoring, name, spy)
    return calls


def unequal(data: Splits) -> Splits:
    """Two thirds of val's images of digit 0 are gone."""
    zeros = np.flatnonzero(data.val.labels == 0)
    kept = np.setdiff1d(np.arange(len(data.val)), zeros[: 2 * len(zeros) // 3])
    return replace(data, val=data.val.take(kept))


@pytest.mark.parametrize(
    ("loss", "of_heads"),
    [
        ("supcon", ["projection_knn"]),
        ("sincere", ["projection_knn"]),
        ("simclr", ["projection_knn"]),
        ("ce", ["head"]),
        ("supcon_ce", ["projection_knn", "head"]),
    ],
)
def test_the_classifiers_that_a_loss_has_are_scored(
    tiny: Config, digits: Splits, loss: str, of_heads: list[str]
) -> None:
    found = scores(override(tiny, {"loss.name": loss}), digits).metrics
    classified = {f"val/{name}_top1" for name in ("probe", "knn", "knn1", *of_heads)}
    assert set(found) == classified | set(SPREAD) | set(PROJECTED if loss != "ce" else ())
    assert all(0 < found[name] < 1 for name in classified)


@pytest.mark.parametrize("loss", ["supcon", "ce", "supcon_ce"])
def test_each_score_is_of_what_its_name_says(tiny: Config, digits: Splits, loss: str) -> None:
    config = override(tiny, {"loss.name": loss, "probe.knn_k": 7, "probe.l2": [0.01]})
    net = network(config, digits)
    found = score(net, config, digits, CPU)
    train, val = embedded(net, digits.train.images), embedded(net, digits.val.images)
    train_y, val_y = torch.tensor(digits.train.labels), torch.tensor(digits.val.labels)

    def knn(bank: Tensor, queries: Tensor, k: int) -> Tensor:
        return knn_predict(bank, train_y, queries, classes=10, ks=[k], temperature=0.07)[0]

    expected = {
        "val/probe_top1": found.probe.predict(val.features),
        "val/knn_top1": knn(train.features, val.features, 7),
        "val/knn1_top1": knn(train.features, val.features, 1),
    }
    projections = val.outputs[:, : config.model.head_dim]
    if loss != "supcon":  # the last 10 of a joint head
        expected["val/head_top1"] = val.outputs[:, -10:].argmax(1)
    if loss != "ce":
        bank = train.outputs[:, : config.model.head_dim]
        expected["val/projection_knn_top1"] = knn(bank, projections, 7)
    expected_metrics = {name: accuracy(ids, val_y) for name, ids in expected.items()}
    spread = spread_metrics(val.features, val_y) | geometry_metrics(val.features, val_y)
    expected_metrics |= {f"val/{name}": value for name, value in spread.items()}
    if loss != "ce":
        of_length_1 = F.normalize(projections, dim=1)
        for name, value in geometry_metrics(of_length_1, val_y).items():
            expected_metrics[f"val/projection_{name}"] = value
    assert found.metrics == expected_metrics


@pytest.mark.parametrize("method", ["lbfgs", "sgd"])
def test_unequal_classes_add_the_balanced_accuracy_of_the_cross_fitted_probe(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    config = override(tiny, {"probe.method": method, "probe.epochs": 3})
    calls = spy_on(monkeypatch, "fit_probe" if method == "lbfgs" else "fit_probe_by_sgd")
    assert "val/probe_balanced" not in scores(config, digits).metrics
    data = unequal(digits)
    found = scores(config, data).metrics
    fitted = calls[-1].result
    assert isinstance(fitted, Fitted)
    labels = torch.tensor(data.val.labels)
    assert found["val/probe_balanced"] == balanced_accuracy(fitted.predictions, labels)
    assert found["val/probe_top1"] == fitted.top1
    assert found["val/probe_balanced"] != found["val/probe_top1"]


@pytest.mark.parametrize("lr", [0.1, None])
def test_a_probe_by_sgd_repeats_bit_for_bit(tiny: Config, digits: Splits, lr: float | None) -> None:
    config = override(tiny, {"probe.method": "sgd", "probe.epochs": 5, "probe.lr": lr})
    net, twin = network(config, digits), network(config, digits)
    torch.manual_seed(1)
    first = score(net, config, digits, CPU)
    torch.manual_seed(2)
    second = score(twin, config, digits, CPU)
    assert second.metrics == first.metrics
    assert second.probe.candidate == first.probe.candidate in ("raw", "ema", "swa")
    assert torch.equal(second.probe.weight, first.probe.weight)
    assert torch.equal(second.probe.bias, first.probe.bias)


def test_settings_of_the_probe_reach_it(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_sgd, by_lbfgs = (spy_on(monkeypatch, f"fit_probe{suffix}") for suffix in ("_by_sgd", ""))
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 50, "lr": 0.3, "label_smoothing": 0.2}
    changes = {f"probe.{key}": value for key, value in settings.items()}
    scores(override(tiny, changes | {"probe.method": "sgd", "run.seed": 5}), digits)
    scores(override(tiny, {"probe.l2": [0.3, 0.2], "probe.max_iter": 7}), digits)
    scores(override(tiny, {"probe.selection": "balanced"}), digits)
    seed = derive_seed(5, "probe")
    shared = {"classes": 10, "balanced": False}
    (sgd,) = by_sgd
    assert sgd.options == settings | shared | {"average": tiny.average, "seed": seed}
    first, balanced = by_lbfgs
    assert first.options == shared | {"penalties": (0.3, 0.2), "max_iter": 7}
    assert balanced.options["balanced"] is True


@pytest.mark.parametrize(
    ("loss", "of_heads"),
    [("supcon", ["projection_knn"]), ("ce", ["head"]), ("supcon_ce", ["projection_knn", "head"])],
)
def test_of_unequal_classes_every_classifier_is_scored_by_both_measures(
    tiny: Config, digits: Splits, loss: str, of_heads: list[str]
) -> None:
    config = override(tiny, {"loss.name": loss})
    names = {"probe", "knn", "knn1", *of_heads}
    for data, changes in ((unequal(digits), {}), (digits, {"probe.selection": "balanced"})):
        found = scores(override(config, changes), data).metrics
        both = {f"val/{name}_{measure}" for name in names for measure in ("top1", "balanced")}
        assert set(found) == both | set(SPREAD) | set(PROJECTED if loss != "ce" else ())
        assert found[override(config, changes).selection_metric] > 0.2


def test_a_probe_on_views_learns_from_features_of_augmented_images(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = override(tiny, {"probe.views": 2})
    calls = spy_on(monkeypatch, "fit_probe")
    net = network(config, digits)
    score(net, config, digits, CPU)
    x, y, val_x, val_y = calls[0].arguments
    images, policy = digits.train.images, resolve(config.augment, "digits")
    seeds = [derive_seed(0, "probe view", v) for v in range(2)]
    views = [np.concatenate(list(one_view(images, policy, seed))) for seed in seeds]
    assert x.shape[0] == 2 * len(images)
    assert torch.equal(x, torch.cat([embedded(net, view).features for view in views]))
    assert not torch.equal(x[: len(images)], x[len(images) :])
    assert y.tolist() == digits.train.labels.tolist() * 2
    # What is scored are the images of val themselves, and neighbours are looked for among those
    # of train.
    assert torch.equal(val_x, embedded(net, digits.val.images).features)
    assert val_y.tolist() == digits.val.labels.tolist()


def test_views_of_the_probe_are_a_function_of_the_runs_seed(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = spy_on(monkeypatch, "embed")
    for seed in (0, 0, 1):
        config = override(tiny, {"probe.views": 1, "run.seed": seed, "average.bn_images": 32})
        scores(config, digits)
    first, again, other = (call.arguments[1] for call in calls[2::3])  # after train and val
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "probe", [{}, {"probe.method": "sgd", "probe.epochs": 3, "probe.views": 1}]
)
def test_scoring_changes_nothing_of_a_network_but_its_batchnorm(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch, probe: dict[str, Any]
) -> None:
    config = override(tiny, probe)
    estimated: list[dict[str, Tensor]] = []

    def spy(model: nn.Module, batches: Any, device: torch.device, autocast: Any) -> None:
        reestimate_batchnorm(model, batches, device, autocast)
        estimated.append(copy.deepcopy(model.state_dict()))

    monkeypatch.setattr(scoring, "reestimate_batchnorm", spy)
    net = network(config, digits)
    parameters = copy.deepcopy(dict(net.named_parameters()))
    score(net, config, digits, CPU)
    torch.testing.assert_close(dict(net.named_parameters()), parameters, rtol=0, atol=0)
    assert all(p.grad is None for p in net.parameters())
    # Embedding and probe leave its buffers alone, too.
    assert len(estimated) == 1
    torch.testing.assert_close(net.state_dict(), estimated[0], rtol=0, atol=0)


def test_scores_do_not_depend_on_stale_batchnorm(tiny: Config, digits: Splits) -> None:
    net, stale = network(tiny, digits), network(tiny, digits)
    stale(torch.full((8, 1, 16, 16), 255, dtype=torch.uint8))  # white images
    fresh = score(net, tiny, digits, CPU)
    assert score(stale, tiny, digits, CPU).metrics == fresh.metrics


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (150, 150), (200, 200), (5000, 200)])
def test_batchnorm_is_estimated_on_so_many_training_images_without_a_small_batch(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch, asked: int, given: int
) -> None:
    monkeypatch.setattr(scoring, "BN_BATCH", 64)
    estimated = spy_on(monkeypatch, "reestimate_batchnorm")
    net = network(tiny, digits)
    seen: list[int] = []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    score(net, override(tiny, {"average.bn_images": asked}), digits, CPU)
    assert len(estimated) == 1
    assert sum(seen) == given
    assert min(seen) >= min(64, given)


def test_each_image_of_train_and_val_is_embedded_and_scored_once(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = spy_on(monkeypatch, "embed")
    fits = spy_on(monkeypatch, "fit_probe")
    net = network(tiny, digits)
    forwards: list[int] = []
    net.encoder.register_forward_hook(
        lambda module, inputs, output: forwards.append(0 if module.training else len(output))
    )
    score(net, tiny, digits, CPU)
    train, val = (call.arguments[1] for call in calls)
    assert (train is digits.train.images, val is digits.val.images) == (True, True)
    assert sum(forwards) == len(digits.train) + len(digits.val)
    assert len(fits[0].result.predictions) == len(digits.val)


def test_scores_do_not_depend_on_the_order_of_val_images(tiny: Config, digits: Splits) -> None:
    # With one candidate there is nothing to choose by halves of val.
    config = override(tiny, {"probe.l2": [0.01]})
    val = digits.val
    turned = replace(digits, val=Split(val.images[::-1].copy(), val.labels[::-1].copy()))
    assert scores(config, turned).metrics == pytest.approx(scores(config, digits).metrics)


def test_equal_images_are_told_as_a_collapse(tiny: Config, digits: Splits) -> None:
    black = replace(digits, val=Split(np.zeros_like(digits.val.images), digits.val.labels))
    found = scores(tiny, black).metrics
    assert (found["val/collapsed"], found["val/collapsed_classes"]) == (1, 10)
    assert found["val/effective_rank"] == pytest.approx(1, abs=0.01)
    seven = digits.val.images * (digits.val.labels != 7)[:, None, None, None]
    one_class = replace(digits, val=Split(seven, digits.val.labels))
    found = scores(tiny, one_class).metrics
    assert (found["val/collapsed"], found["val/collapsed_classes"]) == (0, 1)
    assert found["val/effective_rank"] > 1.1


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_features_that_are_not_finite_are_not_scored(
    tiny: Config, digits: Splits, value: float
) -> None:
    net = network(tiny, digits)
    nn.init.constant_(next(net.encoder.parameters()), value)
    with pytest.raises(NonFinite):
        score(net, tiny, digits, CPU)


def test_batchnorm_is_estimated_in_the_precision_of_the_run(tiny: Config, digits: Splits) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        config = override(tiny, {"run.precision": precision, "average.bn_images": 64})
        net = network(config, digits)
        dtypes: set[torch.dtype] = set()
        layers = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
        layers[-1].register_forward_hook(lambda _, __, y, d=dtypes: d.add(y.dtype))
        score(net, config, digits, CPU)
        found[precision] = dtypes
    assert found == {"fp32": {torch.float32}, "bf16": {torch.bfloat16}}


@pytest.mark.parametrize("loss", ["supcon", "ce"])
def test_a_score_waits_for_its_device_a_few_times_besides_the_probe(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    # However many batches BatchNorm is re-estimated on and images are embedded in.
    monkeypatch.setattr(scoring, "BN_BATCH", 16)
    config = override(tiny, {"loss.name": loss, "probe.l2": [0.1, 0.01], "probe.max_iter": 8})
    net = network(config, digits)
    with Calls() as counted:
        score(net, config, digits, CPU)
    probe = 2 * 2 + 2  # two penalties, once in four iterations of each; the choice
    assert counted.waits <= probe + 16


def test_a_probe_by_sgd_waits_for_no_step(tiny: Config, digits: Splits) -> None:
    waits = []
    for epochs in (1, 4):
        changes = {"probe.method": "sgd", "probe.epochs": epochs, "probe.lr": 0.1}
        config = override(tiny, changes)
        net = network(config, digits)
        with Calls() as counted:
            score(net, config, digits, CPU)
        waits.append(counted.waits)
    assert waits[0] == waits[1] < 23
