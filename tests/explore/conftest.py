"""A bundle of pictures in files, and one of digits, which are none: to be looked at only."""

from __future__ import annotations

from pathlib import Path

import pytest

from supcon.bundle.model import Model, load
from supcon.config import Config
from supcon.evaluation.trained import Trained
from supcon.images.split import Splits
from tests.explore.painted import bundle_of, bundled, painted


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def bundle(pictures: Path, tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(pictures, tiny, tmp_path_factory.mktemp("of-files") / "model")


@pytest.fixture(scope="session")
def digits_bundle(
    models: dict[str, Trained],
    tiny: Config,
    digits: Splits,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("of-digits") / "model"
    return bundled(models["supcon"], tiny, digits, out)


@pytest.fixture(scope="session")
def model(bundle: Path) -> Model:
    return load(bundle, "cpu")


@pytest.fixture(scope="session")
def digits_model(digits_bundle: Path) -> Model:
    return load(digits_bundle, "cpu")
