"""Indexes that are kept: reused, built anew when damaged, and few."""

from __future__ import annotations

import os
from pathlib import Path

import faiss
import numpy as np
import pytest

from supcon.bundle import index_cache
from supcon.bundle.index_cache import KEPT, kept_index


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "supcon-search" / "indexes"


class Built:
    """Builds indexes of one vector, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> faiss.Index:
        self.times += 1
        index = faiss.IndexFlatIP(2)
        index.add(np.full((1, 2), self.times, dtype=np.float32))
        return index


def values(index: faiss.Index) -> list[float]:
    return index.reconstruct(0).tolist()


def test_an_index_is_built_once(folder: Path) -> None:
    build = Built()
    assert values(kept_index("a", build)) == values(kept_index("a", build)) == [1, 1]
    assert values(kept_index("b", build)) == [2, 2]
    assert build.times == len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["a bit", "half of it", "all", "its name"])
def test_a_damaged_file_is_built_anew_and_never_read(
    folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Built()
    kept_index("a", build)
    (path,) = folder.iterdir()
    data = bytearray(path.read_bytes())
    if damage == "its name":
        path.rename(path.with_name(f"a-{'0' * 32}.faiss"))
    elif damage == "a bit":
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "half of it" else b"")
    with monkeypatch.context() as patch:
        patch.setattr(faiss, "read_index", lambda _: pytest.fail("was read"))
        assert values(kept_index("a", build)) == [2, 2]
    assert values(kept_index("a", build)) == [2, 2]
    assert len(list(folder.iterdir())) == 1


def test_those_that_were_used_longest_ago_go(folder: Path) -> None:
    build = Built()
    for i in range(KEPT):
        kept_index(f"key {i}", build)
    (folder / "left by a process that was killed").touch()
    for i, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (i, i))
    kept_index("key 0", build)  # is used
    kept_index("one more", build)
    left = sorted(path.name.partition("-")[0] for path in folder.iterdir())
    assert left == ["key 0", "key 3", "left by a process that was killed", "one more"]
    assert build.times == KEPT + 1


def test_where_nothing_can_be_kept_a_line_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.parent.mkdir()
    folder.touch()  # no folder
    assert values(kept_index("a", Built())) == [1, 1]
    assert "indexes: cannot keep an index for the next time (" in capsys.readouterr().err


def test_a_write_that_fails_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("no space left")

    monkeypatch.setattr(index_cache, "LENGTH", 8)
    monkeypatch.setattr(faiss, "write_index", fail)
    kept_index("a", Built())
    assert list(folder.iterdir()) == []
    assert "no space left" in capsys.readouterr().err
