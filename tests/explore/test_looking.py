"""Which images are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from supcon.bundle.gallery import HELD_OUT, Gallery
from supcon.bundle.model import Model
from supcon.bundle.predictions import Tally
from supcon.explore.looking import PARTS, UNKNOWN, evenly, look_at_bundle, look_at_files
from supcon.parsing import UserError
from tests.explore.painted import CLASSES, EACH

TRAIN, VAL, GIVEN = (PARTS.index(part) for part in ("train", "val", "given"))


def test_of_a_bundle_all_images_are_shown_with_the_features_that_it_holds(
    model: Model, bundle: Path
) -> None:
    looked = look_at_bundle(model, bundle, 1000)
    val = Gallery.load(bundle / HELD_OUT)
    both = np.concatenate([model.gallery.embeddings, val.embeddings])
    np.testing.assert_array_equal(looked.features.numpy(), both)
    np.testing.assert_array_equal(looked.labels, np.concatenate([model.gallery.labels, val.labels]))
    assert looked.parts.tolist() == [TRAIN] * len(model.gallery) + [VAL] * len(val)
    assert looked.places.tolist() == [*range(len(model.gallery)), *[-1] * len(val)]
    assert all(path.is_file() for path in looked.paths)
    assert looked.missing == {}


def test_of_fewer_images_half_are_of_val_and_keep_their_labels(model: Model, bundle: Path) -> None:
    looked = look_at_bundle(model, bundle, 10)
    assert (looked.parts == VAL).sum() == 5
    assert len(looked) == 10
    names = [path.parent.name for path in looked.paths]
    assert names == [CLASSES[label] for label in looked.labels]
    known = model.gallery.embeddings[looked.places[:5]]
    np.testing.assert_array_equal(looked.features[:5].numpy(), known)


def test_tiles_are_the_pictures_of_their_files(model: Model, bundle: Path) -> None:
    looked = look_at_bundle(model, bundle, 12)
    colour = looked.tiles.mean((1, 2)).argmax(1)  # red, green, blue
    assert colour.tolist() == looked.labels.tolist()


def test_images_that_are_no_files_have_grey_tiles_and_are_named(
    digits_model: Model, digits_bundle: Path
) -> None:
    looked = look_at_bundle(digits_model, digits_bundle, 20)
    assert sorted(looked.missing) == list(range(20))
    assert (looked.tiles == 128).all()
    assert "no such file" in looked.missing[0].lower()


def test_named_files_have_the_label_of_their_folder_and_the_features_of_the_encoder(
    model: Model, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stray = tmp_path / "other" / "x.png"
    stray.write_bytes((pictures / "green" / "00.png").read_bytes())
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    tally = Tally()
    paths = [pictures / "猫" / "01.png", broken, stray]
    looked = look_at_files(model, paths, 100, tally)
    assert looked.paths == [paths[0], stray]
    assert looked.labels.tolist() == [CLASSES.index("猫"), UNKNOWN]
    assert set(looked.parts) == {GIVEN}
    np.testing.assert_allclose(looked.features.numpy(), model.embed([paths[0], stray]), atol=1e-6)
    assert tally.unreadable == 1


def test_many_files_are_thinned_out_evenly(model: Model, pictures: Path) -> None:
    paths = sorted(pictures.rglob("*.png"))
    looked = look_at_files(model, iter(paths), 6, Tally())
    assert looked.paths == [paths[i] for i in (0, 12, 24, 35, 47, 59)]
    assert len(paths) == 3 * EACH


def test_files_of_which_none_can_be_read_are_refused_with_the_reason(
    model: Model, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"^DATA: no image could be read \(.*a\.png: .*name images"):
        look_at_files(model, [tmp_path / "a.png"], 5, Tally())
    with pytest.raises(UserError, match=r"^DATA: no image could be read; name images that can$"):
        look_at_files(model, [], 5, Tally())


def test_only_labelled_images_that_were_not_trained_on_count_as_new(
    model: Model, bundle: Path
) -> None:
    looked = look_at_bundle(model, bundle, 1000)
    assert torch.equal(torch.from_numpy(looked.is_new), torch.from_numpy(looked.parts == VAL))


@pytest.mark.parametrize(("n", "most", "indices"), [(0, 5, []), (3, 5, [0, 1, 2]), (5, 2, [0, 4])])
def test_indices_are_even(n: int, most: int, indices: list[int]) -> None:
    assert evenly(n, most).tolist() == indices
