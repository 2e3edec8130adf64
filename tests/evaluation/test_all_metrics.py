"""All metrics of a run's result: which there are, and that each is of what its name says."""

from __future__ import annotations

import pytest
import torch

from supcon.collapse import GEOMETRY
from supcon.config import Config, override
from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.all_metrics import measure
from supcon.evaluation.retrieval import clustering_metrics, retrieval_metrics
from supcon.evaluation.scores import score
from supcon.evaluation.spread import geometry_metrics, spread_metrics
from supcon.evaluation.trained import Trained, embed_with, predict
from supcon.images.split import Splits
from supcon.network.models import network_for

SPREAD = {"effective_rank", "collapsed", "collapsed_classes"}
SEARCHED = {"precision_at_1", "r_precision", "map_at_r", "ami", "nmi"} | SPREAD


def test_on_val_they_hold_the_scores_of_training_once_more(
    tiny: Config, digits: Splits, trained: Trained
) -> None:
    found = measure(trained, tiny, digits)
    known = {n: v for n, v in trained.metrics.items() if not n.endswith(("_raw", "_ema", "_swa"))}
    more = {f"val/{prefix}{name}" for prefix in ("", "projection_") for name in SEARCHED}
    assert set(found) == set(known) | more
    assert {name: found[name] for name in known} == known


def test_on_test_they_are_those_of_the_saved_probe_and_its_neighbours(
    tiny: Config, digits: Splits, trained: Trained
) -> None:
    test = digits.val.take(torch.arange(0, len(digits.val), 2).numpy())
    found = measure(trained, tiny, digits, test)
    assert {name.partition("/")[0] for name in found} == {"test"}
    for name, ids in predict(trained, tiny, digits.train, test.images).items():
        assert found[f"test/{name}_top1"] == accuracy(ids, torch.tensor(test.labels)), name
    x = embed_with(trained, tiny, test.images).features
    for name, value in geometry_metrics(x, torch.tensor(test.labels)).items():
        assert found[f"test/{name}"] == value, name
    assert {f"test/projection_{name}" for name in GEOMETRY} < set(found)


@pytest.mark.parametrize("prefix", ["", "projection_"])
def test_retrieval_clusters_and_spread_are_of_features_and_of_projections(
    tiny: Config, digits: Splits, trained: Trained, prefix: str
) -> None:
    config = override(tiny, {"run.seed": 3})  # of the clusters' start
    known, new = (embed_with(trained, tiny, part.images) for part in (digits.train, digits.val))
    bank, x = (known.outputs, new.outputs) if prefix else (known.features, new.features)
    bank_y, y = torch.tensor(digits.train.labels), torch.tensor(digits.val.labels)
    expected = retrieval_metrics(bank, bank_y, x, y) | clustering_metrics(x, y, seed=3)
    expected |= spread_metrics(x, y)
    found = measure(trained, config, digits)
    assert {name: found[f"val/{prefix}{name}"] for name in SEARCHED} == expected


def test_without_a_projection_head_there_is_nothing_of_projections(
    tiny: Config, digits: Splits
) -> None:
    config = override(tiny, {"loss.name": "ce"})
    network = network_for(config, digits)
    scores = score(network, config, digits, torch.device("cpu"))
    trained = Trained(network, scores.probe, "raw", 0, scores.metrics, "fp32")
    found = measure(trained, config, digits)
    assert set(found) == set(scores.metrics) | {f"val/{name}" for name in SEARCHED}
    assert "val/head_top1" in found
