"""A finished search, which many tests look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.search import own_home
from tests.programs import Forked, Fresh
from tests.whole.searching import QUICK_RUN, SMALL, finish, start


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """For all that searches and Ray keep."""
    with own_home() as path:
        yield path


@pytest.fixture(scope="session")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and output of a search that nobody disturbed; to be read, or copied."""
    results = tmp_path_factory.mktemp("whole")
    confirm = "confirm={top: 2, pick_seeds: 1, seeds: 3}"
    flags = [*SMALL, "--set", confirm, "--noise-floor"]
    code, output = finish(start(home, results, *flags, launch=Fresh))
    assert code == 0, output
    return results / "digits", output


@pytest.fixture
def copy(whole: tuple[Path, str], tmp_path: Path) -> Path:
    """The folder of such a study, moved to other results."""
    return Path(shutil.copytree(whole[0], tmp_path / "digits"))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What benchmarks start is quick, too."""
    monkeypatch.setattr("tests.benchmarks.search.PROGRAM", QUICK_RUN)
    monkeypatch.setattr("tests.benchmarks.search.LAUNCH", Forked)
