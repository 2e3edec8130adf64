"""Fixtures of all that is seen of a study while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.folder import StudyFolder
from search.monitor import servers
from tests.monitor import programs
from tests.written import WrittenStudy


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A study whose programs are small pages."""
    monkeypatch.setattr(servers, "command", programs.command)
    monkeypatch.setattr(servers, "PORTS", programs.PORTS)
    return StudyFolder(tmp_path)
