"""With which code, on which machine and with which packages a study runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from search.log.surroundings import PACKAGES, commit, machine, versions
from supcon.machine import cores


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@y"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_says_if_files_were_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.log.surroundings.ROOT", tmp_path)
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "v1")  # a tag would hide which commit it is
    head = git(tmp_path, "rev-parse", "HEAD")
    assert len(commit()) >= 7
    assert head.startswith(commit())
    (tmp_path / "code.py").write_text("2")
    assert commit().endswith("-dirty")
    assert head.startswith(commit().removesuffix("-dirty"))


def test_outside_of_git_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.log.surroundings.ROOT", tmp_path)
    assert commit() == "unknown"


def test_the_machine_is_told_by_its_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # as with a driver that is too old
    assert f" {cores()} cores " in machine()
    assert machine().endswith(", no GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"H{i}00")
    assert machine().endswith(", H000, H100")


def test_the_versions_are_those_of_the_packages_that_numbers_depend_on() -> None:
    found = versions()
    assert set(found) == {"python", *PACKAGES}
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_a_package_of_which_nothing_says_the_version_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.log.surroundings.PACKAGES", ("numpy", "no-such-package"))
    assert versions()["no-such-package"] == "unknown"
