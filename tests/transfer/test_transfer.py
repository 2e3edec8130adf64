"""A frozen encoder on classes that it never saw."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from supcon.config import DataConfig
from supcon.evaluation.trained import Trained, embed_with
from supcon.images.loading import load_splits, load_test
from supcon.images.split import Split, Splits
from supcon.parsing import UserError
from supcon.transfer.transfer import check_channels, transfer
from tests.bundled import Used


@pytest.fixture
def others(digit_images: Path) -> DataConfig:
    """Digits 3 and 7, on which nothing was trained."""
    return DataConfig(name="folder", root=digit_images / "others", image_size=16, val_size=0.2)


def varied(trained: Trained, seed: int) -> Trained:
    """The same with weights that are a little off, as of another seed."""
    network = copy.deepcopy(trained.network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(0.03 * weight.std(correction=0) * noise)
    return replace(trained, network=network)


@pytest.mark.parametrize("loss", ["contrastive", "plain"])
def test_probe_and_neighbours_of_the_other_images_are_those_of_scikit_learn_on_their_features(
    loss: str, others: DataConfig, request: pytest.FixtureRequest
) -> None:
    used: Used = request.getfixturevalue(loss)
    data, test = load_splits(others), load_test(others)
    before = {k: v.clone() for k, v in used.trained.network.state_dict().items()}
    found = transfer([(used.trained, used.config)], others, data, test)
    assert all(torch.equal(v, before[k]) for k, v in used.trained.network.state_dict().items())
    assert set(found) == {"probe_top1", "knn_top1"}

    train, new = (
        embed_with(used.trained, used.config, each.images).features.double().numpy()
        for each in (data.train, test)
    )
    near = KNeighborsClassifier(1, metric="cosine").fit(train, data.train.labels)
    assert found["knn_top1"].share.value == pytest.approx(near.score(new, test.labels), abs=0.05)
    scaler = StandardScaler().fit(train)
    linear = LogisticRegression(C=0.1, max_iter=2000)
    linear.fit(scaler.transform(train), data.train.labels)
    expected = linear.score(scaler.transform(new), test.labels)
    assert found["probe_top1"].share.value == pytest.approx(expected, abs=0.05)
    assert found["probe_top1"].share.value > 0.9
    share = found["probe_top1"].share
    assert share.low < share.value < share.high or share.value == 1
    assert found["probe_top1"].each == [share.value]


def test_several_seeds_have_their_mean_and_count_each(
    contrastive: Used, others: DataConfig
) -> None:
    data, test = load_splits(others), load_test(others)
    models = [(varied(contrastive.trained, seed), contrastive.config) for seed in range(3)]
    each = [transfer([model], others, data, test)["knn_top1"].share.value for model in models]
    found = transfer(models, others, data, test)["knn_top1"]
    assert found.each == pytest.approx(each)
    assert found.share.value == pytest.approx(np.mean(each))


def some(split: Split, chosen: Any) -> Split:
    return split.take(np.flatnonzero(chosen))


def test_unequal_classes_are_scored_by_balanced_accuracy_too(
    contrastive: Used, others: DataConfig
) -> None:
    data, test = load_splits(others), load_test(others)
    few = some(test, (test.labels == 0) | (np.arange(len(test)) % 3 == 0))
    found = transfer([(contrastive.trained, contrastive.config)], others, data, few)
    assert set(found) == {"probe_top1", "knn_top1", "probe_balanced", "knn_balanced"}


def test_groups_of_test_images_widen_the_interval(contrastive: Used, others: DataConfig) -> None:
    data, test = load_splits(others), load_test(others)
    models = [(contrastive.trained, contrastive.config)]
    alone = transfer(models, others, data, test)["knn_top1"].share
    groups = np.sort(np.arange(len(test)) % 4)
    grouped = transfer(models, others, data, replace(test, groups=groups))["knn_top1"].share
    assert grouped.value == alone.value
    assert grouped.low < alone.low


def test_images_of_other_channels_are_refused(trained: Trained, others: DataConfig) -> None:
    data: Splits = load_splits(others)
    with pytest.raises(UserError, match=r"takes images of 1 channel\(s\).* have 3; take a model"):
        check_channels(trained, data)
