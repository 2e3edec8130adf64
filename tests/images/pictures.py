"""Pictures to test with, and the configs that read them."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from supcon.config import Config, DataConfig, override
from supcon.images.decoding import Pixels
from supcon.images.split import Split

COLOURS = {"cat": (200, 30, 30), "dog": (30, 30, 200), "owl": (20, 180, 20)}


def pixels(split: Split) -> Pixels:
    return split.images[:]


def contents(split: Split) -> Counter[bytes]:
    return Counter(image.tobytes() for image in pixels(split))


def digits(**changes: Any) -> DataConfig:
    return DataConfig(**({"name": "digits"} | changes))


def folder(root: Path, **changes: Any) -> DataConfig:
    options = {"name": "folder", "root": root, "image_size": 8, "val_size": 3}
    return DataConfig(**(options | changes))


def cifar_files(root: Path) -> list[str]:
    """CIFAR-10 of 20 images a file, in the green of the file's number; names of its classes."""
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True)
    files = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for value, file in enumerate(files):
        labels = np.arange(20) % 10
        planes = np.full((20, 3, 32, 32), value, dtype=np.uint8)
        planes[:, 0] += 100  # red
        planes[:, 2] = labels[:, None, None]
        content = {"data": planes.reshape(20, 3072), "labels": labels.tolist()}
        (base / file).write_bytes(pickle.dumps(content))
    names = [f"class {i}" for i in range(10)]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    return names


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, as in a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    noisy = (smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255)
    return Image.fromarray(noisy.astype(np.uint8))


def training_from(root: Path, tiny: Config, **data: Any) -> Config:
    """A short run on the two shades of `shades`, or another folder of as many pictures."""
    changes: dict[str, Any] = {"data.name": "folder", "data.root": str(root)}
    changes |= {"data.train_size": None, "data.batch_size": 10, "probe.views": 1}
    changes |= {"run.epochs": 2, "average.bn_images": 20}
    return override(tiny, changes | {f"data.{key}": value for key, value in data.items()})
