"""Bundles for tests: of pictures in folders whose names are markup, or of any trained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from supcon.bundle.manifest import Source
from supcon.bundling.making import Choices, make_bundle
from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.loading import load_splits
from supcon.images.split import Splits

COLOURS = {"<b>$x$": (200, 40, 40), "green": (40, 180, 40), "猫": (40, 40, 200)}
CLASSES = tuple(COLOURS)
EACH = 20


def painted(folder: Path) -> Path:
    """Noisy squares, a folder for each class with its colour; every path holds </script>."""
    root = folder / "<" / "script>"
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for i in range(EACH):
            noise = generator.integers(-40, 41, size=(16, 16, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:02d}.png")
    return root


def bundled(trained: Trained, config: Config, data: Splits, out: Path) -> Path:
    """The folder of a bundle."""
    source = Source(run="run", seed=0, weights="raw", epoch=1, data=data.fingerprint())
    make_bundle(trained, config, data, source, Choices(false_alarms=0.2), out)
    return out


def bundle_of(pictures: Path, tiny: Config, out: Path) -> Path:
    """Of what an epoch makes of a folder of pictures."""
    from supcon.train import fit

    changes = {
        "data.name": "folder",
        "data.root": str(pictures),
        "data.train_size": None,
        "data.batch_size": 8,
        "run.epochs": 1,
    }
    config = override(tiny, changes)
    data = load_splits(config.data)
    (record,) = fit(config, data)
    assert record.trained is not None
    return bundled(record.trained, config, data, out)
