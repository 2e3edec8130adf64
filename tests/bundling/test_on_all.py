"""Training on train and val together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from supcon.bundling.on_all import together, train_on_all
from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.files import ImageFiles
from supcon.images.loading import load_splits
from supcon.images.split import Splits
from supcon.train import Record, Run
from tests.bundled import Used


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.network.state_dict()


@pytest.fixture
def first(trained_run: list[Record]) -> Trained:
    trained = trained_run[-1].trained
    assert trained is not None
    return trained


def test_all_images_are_trained_on_and_what_val_decided_stays(
    tiny: Config, digits: Splits, first: Trained, tmp_path: Path
) -> None:
    told = list[int]()
    found = train_on_all(first, tiny, digits, tmp_path / "x.pt", lambda r: told.append(r.epoch))
    assert told == [1, 2, 3]
    assert (found.weights, found.metrics, found.precision) == (first.weights, {}, first.precision)
    assert found.probe.candidate == first.probe.candidate
    both = together(digits)
    assert len(both) == len(digits.train) + len(digits.val)
    mean, _ = both.channel_statistics
    assert weights(found)["encoder.mean"].flatten().tolist() == pytest.approx(mean)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(
    tiny: Config, digits: Splits, first: Trained, tmp_path: Path
) -> None:
    def interrupt(run: Run) -> None:
        if run.epoch == 2:
            raise KeyboardInterrupt

    file = tmp_path / "x.pt"
    with pytest.raises(KeyboardInterrupt):
        train_on_all(first, tiny, digits, file, interrupt)
    told = list[int]()
    again = train_on_all(first, tiny, digits, file, lambda run: told.append(run.epoch))
    assert told == [3]
    whole = train_on_all(first, tiny, digits, file, lambda _: None)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_files_are_joined_without_decoding_them(contrastive: Used) -> None:
    config = override(contrastive.config, {"data.pipeline": "streaming"})
    data = load_splits(config.data)
    images = together(data).images
    assert isinstance(images, ImageFiles)
    expected = np.concatenate([contrastive.data.train.images[:], contrastive.data.val.images[:]])
    assert np.array_equal(images[:], expected)
