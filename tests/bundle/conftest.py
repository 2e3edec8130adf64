"""A bundle of a run that takes a second, of digits in files: to be looked at, or copied."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from supcon.bundle.making import Choices, make_bundle
from supcon.bundle.manifest import Source
from supcon.bundle.model import Model, load_model
from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.loading import load_splits
from supcon.images.split import Splits
from tests.digit_files import write_digits


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
        return load_model(self.folder, "cpu")

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


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    write_digits(root, but=("3", "7"))
    return root


@pytest.fixture(scope="session")
def contrastive(tiny: Config, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Used:
    return used(tiny, tmp_path_factory.mktemp("supcon") / "model", images, "supcon")


@pytest.fixture(scope="session")
def plain(tiny: Config, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Used:
    return used(tiny, tmp_path_factory.mktemp("ce") / "model", images, "ce")


@pytest.fixture
def own(contrastive: Used, tmp_path: Path) -> Used:
    """A copy that may be changed."""
    folder = tmp_path / "model"
    shutil.copytree(contrastive.folder, folder)
    return Used(folder, contrastive.trained, contrastive.config, contrastive.data, tmp_path)
