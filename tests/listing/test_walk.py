"""What is found under folders, and what stops a walk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supcon.listing.walk import Walk
from supcon.parsing import UserError


def test_a_walk_counts_on_over_several_folders(tmp_path: Path) -> None:
    for name in ("a/0.png", "a/x/1.png", "b/2.jpg", "a/n.txt", "b/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    walk = Walk(tmp_path)
    assert walk.images([tmp_path / "a", tmp_path / "b"]) == [["0.png", "x/1.png"], ["2.jpg"]]
    assert walk.left_out.counts == {("no image by its suffix", ".txt"): 2}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a/locked").mkdir(parents=True)
    (tmp_path / "a/locked").chmod(0)
    with pytest.raises(UserError, match=r"a/locked cannot be read \(Permission denied\)"):
        Walk(tmp_path).images([tmp_path / "a"])


def test_an_error_of_the_system_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(tmp_path)
    (tmp_path / "a").mkdir()

    def denied(place: object) -> None:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(UserError, match=r"a cannot be read \(Permission denied\)"):
        walk.images([tmp_path / "a"])
