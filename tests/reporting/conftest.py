"""Studies and what is written about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.events import Searched
from search.reporting.files import write_report
from search.reporting.summary import Summary
from tests import reported as studies
from tests.written import WrittenStudy


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    """Both arms searched, with three trials each."""
    return studies.searched(tmp_path)


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> WrittenStudy:
    """A study that has everything a report can show; tests share it and leave it as it is."""
    return studies.full(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def summary(full: WrittenStudy) -> Summary:
    return write_report(full)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[WrittenStudy, Summary]:
    """The same of three arms, and what was written about it: likewise."""
    study = studies.full(tmp_path_factory.mktemp("three"), studies.THREE)
    study.add(Searched)
    return study, write_report(study)


@pytest.fixture(scope="session")
def report(full: WrittenStudy, summary: Summary) -> Path:
    """Where its report lies."""
    return full.folder.path
