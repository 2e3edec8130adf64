"""A run that has ended, to be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from supcon.config import Config, dump_config, override
from tests.cli.running import run_command


@pytest.fixture(scope="session")
def config_file(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(dump_config(override(tiny, {"run.epochs": 2})))
    return path


@pytest.fixture(scope="session")
def finished(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended; to be copied."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert run_command(config_file, "--out", out) == 0
    return out
