"""Numbers of images."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from supcon.bundle.model import Model
from supcon.explore.album import Album
from supcon.explore.looking import look_at_bundle


def test_a_neighbour_that_is_looked_at_keeps_its_number_and_another_gets_a_new_one(
    model: Model, bundle: Path, tmp_path: Path
) -> None:
    looked = look_at_bundle(model, bundle, 10)
    album = Album(looked, model)
    shown = set(looked.places.tolist())
    other = next(i for i in range(len(model.gallery)) if i not in shown)
    assert album.of_gallery(int(looked.places[2])) == 2
    assert [album.of_gallery(other), album.of_gallery(other)] == [10, 10]
    Image.new("RGB", (9, 9), (7, 8, 9)).save(tmp_path / "x.png")
    assert [album.of_file(tmp_path / "x.png"), album.of_file(Path("none.png"))] == [11, 12]
    tiles, missing = album.tiles()
    assert len(tiles) == len(album.paths) == len(album.labels) == 13
    assert (tiles[:10] == looked.tiles).all()
    assert tiles[10].mean((0, 1)).argmax() == model.gallery.labels[other]  # red, green, blue
    assert (tiles[11] == (7, 8, 9)).all()
    assert list(missing) == [12]
