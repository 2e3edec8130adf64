"""The gallery's file."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from supcon.bundle.gallery import Gallery
from supcon.parsing import UserError
from tests.bundled import gallery_of


def equal(a: Gallery, b: Gallery) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)


def test_a_gallery_is_read_back_as_it_was(tmp_path: Path) -> None:
    gallery = gallery_of(torch.randn(5, 3))
    gallery.names[2] = "Größe/猫 'x'.jpg"
    gallery.save(tmp_path / "g.npz")
    assert equal(Gallery.load(tmp_path / "g.npz"), gallery)
    assert [p.name for p in tmp_path.iterdir()] == ["g.npz"]


def test_half_of_the_size_moves_cosines_by_less_than_a_thousandth() -> None:
    gallery = gallery_of(torch.randn(50, 64))
    half = gallery.in_half()
    assert half.embeddings.nbytes * 2 == gallery.embeddings.nbytes
    a, b = (g.embeddings.astype(np.float64) for g in (gallery, half))
    cosines = [x @ x.T / np.outer(*[np.linalg.norm(x, axis=1)] * 2) for x in (a, b)]
    assert np.abs(cosines[0] - cosines[1]).max() < 1e-3


def test_galleries_are_joined_and_parted() -> None:
    a, b = gallery_of(torch.randn(3, 2)).in_half(), gallery_of(torch.randn(2, 2))
    both = a.with_more(b)
    assert (len(both), both.embeddings.dtype.name) == (5, "float16")
    assert equal(both.take(np.array([1, 1, 1, 0, 0], dtype=bool)), a)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "content", ["pickled", "empty", "text", "a field less", "shapes", "numbers as names"]
)
def test_a_file_that_is_no_gallery_is_one_line_and_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path, good = tmp_path / "g.npz", gallery_of(torch.randn(4, 2))
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}
    match content:
        case "pickled":
            fields["names"] = np.array([Trap()] * 4, dtype=object)
            np.savez(path, **fields)
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_bytes(pickle.dumps("x"))
        case "a field less":
            np.savez(path, **{k: v for k, v in fields.items() if k != "labels"})
        case "shapes":
            np.savez(path, **fields | {"labels": good.labels[:2]})
        case "numbers as names":
            np.savez(path, **fields | {"names": good.labels})
    with pytest.raises(UserError, match=r"g\.npz: (damaged|no gallery)") as told:
        Gallery.load(path)
    assert len(str(told.value).splitlines()) == 1
    assert not (tmp_path / "sprung").exists()


def test_a_gallery_cut_short_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "g.npz"
    gallery_of(torch.randn(400, 8)).save(path)
    whole = path.read_bytes()
    for keep in (10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:keep])
        with pytest.raises((UserError), match="damaged"):
            Gallery.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.npy", b"\x93NUMPY")
    with pytest.raises(UserError, match="damaged"):
        Gallery.load(path)
