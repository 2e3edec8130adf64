"""A bundle of a run that takes seconds, of digits in files, and files as people have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supcon.bundle.gallery import Gallery
from supcon.bundle.manifest import Source
from supcon.bundle.model import Model, load
from supcon.bundling.making import Choices, make_bundle
from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.loading import load_splits
from supcon.images.split import Splits


@dataclass(frozen=True)
class Used:
    """A run, its images, and the bundle that was made of it."""

    folder: Path
    trained: Trained
    config: Config
    data: Splits
    images: Path
    """train/ and test/ with a folder for each digit, and others/ with those of 3 and 7."""

    def load(self) -> Model:
        return load(self.folder, "cpu")

    def make(self, out: Path, choices: Choices = Choices()) -> None:  # noqa: B008
        make_bundle(self.trained, self.config, self.data, source_of(self.config), choices, out)


def source_of(config: Config) -> Source:
    return Source(run="run", seed=config.run.seed, weights="ema", epoch=3, data="0")


def used(tiny: Config, folder: Path, images: Path, loss: str) -> Used:
    from supcon.train import fit

    changes: dict[str, object] = {
        "data.name": "folder",
        "data.root": str(images),
        "loss.name": loss,
    }
    changes |= {"data.train_size": None, "run.epochs": 4}
    config = override(tiny, changes)
    data = load_splits(config.data)
    (*_, last) = fit(config, data)
    assert last.trained is not None
    made = Used(folder, last.trained, config, data, images)
    made.make(folder)
    return made


def gallery_of(x: Tensor, labels: Tensor | None = None) -> Gallery:
    """Embeddings (N, D), of images that are nowhere."""
    n = len(x)
    return Gallery(
        x.numpy(),
        (torch.zeros(n, dtype=torch.int64) if labels is None else labels).numpy(),
        np.arange(n).astype(np.str_),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.bool_),
    )


def odd_files(folder: Path) -> dict[str, str]:
    """Writes files as people have them; name -> how what is said of each begins."""
    grey, colour = Image.linear_gradient("L"), Image.radial_gradient("L").convert("RGB")
    colour.save(folder / "a.jpg")
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    grey.save(folder / "grey.png")
    Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256)).save(folder / "16bit.png")
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    Image.new("RGB", (1, 1), "red").save(folder / "1x1.png")
    colour.save(folder / "moves.gif", save_all=True, append_images=[grey.convert("RGB")])
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(folder / "clear.png")
    Image.new("1", (9_500, 9_500)).save(folder / "huge.png")
    Image.new("1", (13_500, 13_500)).save(folder / "bomb.png")
    Image.new("I", (4, 4), 70_000).save(folder / "32bit.tif")
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to("nowhere")
    broken = "not a readable image ("
    return {
        "a.jpg": "read",
        "cut.jpg": broken,
        "empty.png": broken,
        "text.jpg": broken,
        "grey.png": "read",
        "16bit.png": "read",
        "cmyk.jpg": "read",
        "1x1.png": "read",
        "moves.gif": "the first of several pictures",
        "clear.png": "laid on black",
        "huge.png": "read",
        "bomb.png": broken,
        "32bit.tif": f"{broken}32-bit",
        "folder.jpg": broken,
        "dangling.jpg": broken,
        "missing.jpg": broken,
    }
