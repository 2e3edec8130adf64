"""A bundle of pictures in folders whose names are markup, and one of digits, which are no files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supcon.bundle.making import Choices, make_bundle
from supcon.bundle.manifest import Source
from supcon.bundle.model import Model, load_model
from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.loading import load_splits
from supcon.images.split import Splits

CLASSES = ("<b>$x$", "green", "猫")
COLOURS = {"<b>$x$": (200, 40, 40), "green": (40, 180, 40), "猫": (40, 40, 200)}
EACH = 20


def bundled(trained: Trained, config: Config, data: Splits, out: Path) -> Path:
    source = Source(run="run", seed=0, weights="raw", epoch=1, data=data.fingerprint())
    make_bundle(trained, config, data, source, Choices(false_alarms=0.2), out)
    return out


def paint(root: Path, each: int) -> None:
    """A folder for each class with noisy squares of its colour."""
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for i in range(each):
            noise = generator.integers(-40, 41, size=(16, 16, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:02d}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their folder: every path in it holds </script>."""
    root = tmp_path_factory.mktemp("pictures") / "<" / "script>"
    paint(root, EACH)
    return root


@pytest.fixture(scope="session")
def bundle(pictures: Path, tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the pictures: to be looked at, not changed."""
    from supcon.train import fit

    changes = {
        "data.name": "folder",
        "data.root": str(pictures),
        "data.train_size": None,
        "run.epochs": 1,
        "data.batch_size": 8,
    }
    config = override(tiny, changes)
    data = load_splits(config.data)
    (record,) = fit(config, data)
    assert record.trained is not None
    return bundled(record.trained, config, data, tmp_path_factory.mktemp("of-files") / "model")


@pytest.fixture(scope="session")
def digits_bundle(
    models: dict[str, Trained], tiny: Config, digits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Of images in memory: to be looked at, not changed."""
    return bundled(models["supcon"], tiny, digits, tmp_path_factory.mktemp("of-digits") / "model")


@pytest.fixture(scope="session")
def model(bundle: Path) -> Model:
    return load_model(bundle, "cpu")


@pytest.fixture(scope="session")
def digits_model(digits_bundle: Path) -> Model:
    return load_model(digits_bundle, "cpu")
