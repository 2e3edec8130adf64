"""Images of unknown classes: where they come from, and that no part holds one of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from supcon.config import DataConfig
from supcon.images.decoding import Reading
from supcon.images.files import ImageFiles
from supcon.images.loading import check_test, check_unknown, load_splits, load_test, load_unknown
from supcon.images.sources import list_images
from supcon.images.split import Split, fingerprint
from supcon.parsing import UserError
from tests.images.pictures import cifar_files, contents, digits, folder, photo, pixels

CLASSES = ("ant", "bee", "cat", "dog", "elk")
EACH = 12


def paint(place: Path, label: int, numbers: range) -> None:
    """Pictures that are all different."""
    place.mkdir(parents=True)
    for i in numbers:
        Image.new("RGB", (9, 9), (10 * i, 50 * label, 77)).save(place / f"{i}.png")


def of_classes(root: Path) -> DataConfig:
    for label, name in enumerate(CLASSES):
        paint(root / name, label, range(EACH))
    return folder(root, val_size=0.2)


def of_parts(root: Path) -> DataConfig:
    for label, name in enumerate(CLASSES):
        paint(root / "train" / name, label, range(8))
        paint(root / "test" / name, label, range(8, EACH))
    return folder(root, val_size=0.2)


def of_table(root: Path, *, has_parts: bool = False) -> DataConfig:
    """Groups of four images, each of two or three classes."""
    of_classes(root)
    rows = ["path,label,split,group"]
    for i in range(EACH):
        part = "" if not has_parts else ("train", "train", "val", "test")[i % 4]
        rows += [f"{name}/{i}.png,{name},{part},g{i % 8}{k // 3}" for k, name in enumerate(CLASSES)]
    (root / "t.csv").write_text("\n".join(rows) + "\n")
    return DataConfig(name="table", root=root / "t.csv", image_size=8, val_size=0.2)


def of_table_with_parts(root: Path) -> DataConfig:
    return of_table(root, has_parts=True)


def of_saved(root: Path) -> DataConfig:
    datasets.disable_progress_bars()
    rows = [(i, label) for label in range(len(CLASSES)) for i in range(EACH)]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES[::-1]))}
    )
    columns = {
        "image": [Image.new("RGB", (9, 9), (10 * i, 50 * label, 77)) for i, label in rows],
        "label": [label for _, label in rows],
    }
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(root)
    return DataConfig(name="huggingface", root=root, image_size=8, val_size=0.2)


def of_digits(root: Path) -> DataConfig:
    return digits(image_size=8)


def of_cifar(root: Path) -> DataConfig:
    cifar_files(root)
    return DataConfig(name="cifar10", root=root, val_size=10)


OWN = [of_classes, of_parts, of_table, of_table_with_parts, of_saved]
WAYS = [*OWN, of_digits, of_cifar]


@pytest.fixture(autouse=True)
def _any_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


def unknown_of(config: DataConfig) -> Split:
    found = load_unknown(config)
    assert found is not None
    return found


def names_of(config: DataConfig) -> dict[bytes, str]:
    """Picture -> name of its class, of all images that train, validate or test."""
    data, test = load_splits(config), load_test(config)
    return {
        picture.tobytes(): data.classes[label]
        for split in (data.train, data.val, test)
        for picture, label in zip(pixels(split), split.labels, strict=True)
    }


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_no_image_of_a_class_held_out_is_in_train_val_or_test_and_its_test_images_are_unknown(
    tmp_path: Path, way: Callable[[Path], DataConfig], seed: int, n: int
) -> None:
    whole = way(tmp_path / "x").model_copy(update={"split_seed": seed})
    config = whole.model_copy(update={"hold_out": n})
    truth, found, data, unknown = (
        names_of(whole), names_of(config), load_splits(config), unknown_of(config)
    )  # fmt: skip
    held = {*truth.values()} - {*data.classes}
    assert len(held) == n
    assert found.items() <= truth.items()  # renumbered, each keeps its name
    assert {*found.values()} == {*data.classes}
    assert contents(load_test(whole)) == contents(load_test(config)) + contents(unknown)
    assert {truth[picture] for picture in contents(unknown)} == held
    assert set(unknown.labels) == {-1}
    if way is not of_cifar:  # of few pictures, each several times
        assert not {*contents(unknown)} & {*found}


def groups_of(*splits: Split) -> set[int]:
    return {int(group) for split in splits if split.groups is not None for group in split.groups}


@pytest.mark.parametrize("way", [of_table, of_table_with_parts])
def test_no_group_is_on_two_sides_of_a_split_with_classes_held_out(
    tmp_path: Path, way: Callable[[Path], DataConfig]
) -> None:
    config = way(tmp_path / "x").model_copy(update={"hold_out": 2})
    data, test, unknown = load_splits(config), load_test(config), unknown_of(config)
    sides = [(data.train,), (data.val,), (test, unknown)]
    groups = [group for side in sides for group in groups_of(*side)]
    assert len(groups) == len(set(groups)) > 0


@pytest.mark.parametrize("way", OWN[:4])
def test_what_is_written_down_is_a_table_of_the_same_images_in_the_same_parts(
    tmp_path: Path, way: Callable[[Path], DataConfig]
) -> None:
    config, file = way(tmp_path / "x").model_copy(update={"hold_out": 2}), tmp_path / "images.csv"
    list_images(config).write(file)
    again = DataConfig(name="table", root=file, image_size=8)
    assert load_splits(again).classes == load_splits(config).classes
    for find in (
        lambda c: load_splits(c).train, lambda c: load_splits(c).val, load_test, unknown_of
    ):  # fmt: skip
        before, after = find(config), find(again)
        assert np.array_equal(pixels(before), pixels(after))
        assert np.array_equal(before.labels, after.labels)
    with pytest.raises(UserError, match=r"data.hold_out must be 0, since .* already, got 1; leave"):
        load_splits(again.model_copy(update={"hold_out": 1}))


def test_without_either_setting_there_is_none(tmp_path: Path) -> None:
    for way in WAYS:
        config = way(tmp_path / way.__name__)
        assert load_unknown(config) is None
        assert check_unknown(config) == ((), ())


# A folder of unknown images


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Three photos, two of them deeper."""
    (tmp_path / "others/a/b").mkdir(parents=True)
    for i, name in enumerate(("0.png", "a/1.jpg", "a/b/2.png")):
        photo(20, 30, seed=i).save(tmp_path / "others" / name)
    (tmp_path / "others/a/notes.txt").write_bytes(b"")
    return tmp_path / "others"


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
@pytest.mark.parametrize("hold_out", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_all_images_of_the_folder_are_unknown_whatever_its_folders_are_called(
    tmp_path: Path, others: Path, way: Callable[[Path], DataConfig], hold_out: int, pipeline: str
) -> None:
    plain = way(tmp_path / "x").model_copy(update={"pipeline": pipeline, "hold_out": hold_out})
    config = plain.model_copy(update={"unknown": others})
    found, held = unknown_of(config), load_unknown(plain)
    n = 0 if held is None else len(held)
    assert len(found) == n + 3
    assert set(found.labels) == {-1}
    assert found.images.shape[1:] == load_test(plain).images.shape[1:]
    if plain.is_own:
        assert isinstance(found.images, ImageFiles) == (pipeline == "streaming")
    if held is not None:
        assert np.array_equal(pixels(found)[:n], pixels(held))
    as_known = ImageFiles(
        others, np.array([b"0.png", b"a/1.jpg", b"a/b/2.png"]), Reading(found.images.shape[1])
    )
    expected = as_known[:]
    if found.images.shape[3] == 1:
        expected = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in expected])
    assert np.array_equal(pixels(found)[n:].squeeze(), expected)
    before, after = load_splits(plain), load_splits(config)
    assert before.fingerprint() == after.fingerprint()


def test_images_of_both_places_are_named_alike_wherever_these_lie_together(
    tmp_path: Path, others: Path
) -> None:
    found = []
    config = of_parts(tmp_path / "x").model_copy(update={"hold_out": 1, "pipeline": "streaming"})
    for root in (tmp_path, tmp_path / "moved"):
        if root != tmp_path:
            shutil.copytree(tmp_path / "x", root / "x")
            shutil.copytree(others, root / "others")
        unknown = unknown_of(
            config.model_copy(update={"root": root / "x", "unknown": root / "others"})
        )
        found.append(fingerprint([unknown], (), reads_files=True))
    assert found[0] == found[1]


def test_an_image_of_the_folder_is_a_group_of_its_own(tmp_path: Path, others: Path) -> None:
    config = of_table(tmp_path / "x").model_copy(update={"hold_out": 1, "unknown": others})
    found = unknown_of(config)
    assert found.groups is not None
    held, own = np.split(found.groups, [len(found) - 3])
    assert len(set(own)) == 3
    assert not set(own) & set(held)
    assert unknown_of(config.model_copy(update={"hold_out": 0})).groups is None


def test_images_are_counted_and_broken_ones_named_before_they_are_needed(
    tmp_path: Path, others: Path
) -> None:
    config = of_parts(tmp_path / "x").model_copy(update={"hold_out": 1, "unknown": others})
    (held,) = list_images(config).held_out
    assert check_unknown(config) == (
        (f"4 test images of the held-out classes {held}", f"3 images under {others}"), ()
    )  # fmt: skip
    (others / "a/1.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=f"{others}/a/1.jpg: not a readable image"):
        check_unknown(config)
    config = config.model_copy(update={"broken": "skip"})
    phrases, broken = check_unknown(config)
    assert phrases[1] == f"2 images under {others}"
    assert broken == (str(others / "a/1.jpg"),)
    assert len(unknown_of(config)) == 6
    for name in ("0.png", "a/b/2.png"):
        (others / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"all images under {others} are broken; repair some"):
        check_unknown(config)


def denied(place: object) -> None:
    raise PermissionError(13, "Permission denied", str(place))


@pytest.mark.parametrize("way", [of_classes, of_digits])
def test_a_folder_that_is_missing_or_empty_is_refused_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Path], DataConfig]
) -> None:
    config = way(tmp_path / "x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name, words in (
        ("nowhere", "must be a folder with images of other classes, and there is nothing"),
        ("file", "must be a folder with images of other classes, and is none"),
        ("empty", "holds no images"),
        ("x" * 300, "must be a folder"),
    ):
        with pytest.raises(UserError) as error:
            check_unknown(config.model_copy(update={"unknown": tmp_path / name}))
        assert str(error.value).startswith(f"data.unknown: {tmp_path / name} {words}")
    with pytest.raises(UserError, match=r"data.unknown: no such home directory: ~nobody-is-it/x"):
        check_unknown(config.model_copy(update={"unknown": Path("~nobody-is-it/x")}))
    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(UserError, match=r"data.unknown: .*empty cannot be read \(Permission"):
        check_unknown(digits(unknown=tmp_path / "empty"))


@pytest.mark.parametrize("inside", ["elk", "."])
def test_a_folder_of_images_that_are_known_is_refused(tmp_path: Path, inside: str) -> None:
    config = of_classes(tmp_path / "x")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    config = config.model_copy(update={"unknown": tmp_path / "link" / inside})
    n = EACH * (1 if inside == "elk" else 5)
    with pytest.raises(UserError, match=f"data.unknown: {n} of its {n} images are among those of"):
        check_unknown(config)


def test_classes_held_out_that_have_no_test_image_are_named(tmp_path: Path) -> None:
    config = of_parts(tmp_path / "x").model_copy(update={"hold_out": 1})
    (held,) = list_images(config).held_out
    shutil.rmtree(tmp_path / "x/test" / held)
    load_splits(config)
    check_test(config)
    with pytest.raises(UserError) as error:
        check_unknown(config)
    assert str(error.value) == (
        f"data.hold_out: the classes held out ({held}) have no test image; add some, or have "
        f"others drawn by another data.split_seed"
    )


@pytest.mark.parametrize("way", WAYS)
def test_too_many_classes_held_out_are_refused_with_the_most_that_can_be(
    tmp_path: Path, way: Callable[[Path], DataConfig]
) -> None:
    config = way(tmp_path / "x")
    n = len(load_splits(config).classes)
    held = config.model_copy(update={"hold_out": n - 1})
    for find in (load_splits, load_test, check_unknown):
        with pytest.raises(UserError) as error:
            find(held)
        assert str(error.value) == (
            f"data.hold_out must leave at least 2 of the {n} classes, got {n - 1}; set it to "
            f"{n - 2} or less"
        )


# Tables that say it themselves


def marked(root: Path, extra: list[str]) -> DataConfig:
    of_table_with_parts(root)
    with (root / "t.csv").open("a") as rows:
        rows.write("\n".join(extra) + "\n")
    for i in range(4):
        photo(9, 9, seed=i).save(root / f"{i}.png")
    return DataConfig(name="table", root=root / "t.csv", image_size=8, group_column=None)


def test_a_table_may_mark_unknown_images_of_any_label_or_none(tmp_path: Path) -> None:
    config = marked(tmp_path, ["0.png,,unknown,", "1.png,yak,Unknown,", "2.png,yak,,"])
    data = load_splits(config)
    assert data.classes == CLASSES
    assert len(data.train) + len(data.val) + len(load_test(config)) == EACH * 5
    assert len(unknown_of(config)) == 2
    assert check_unknown(config)[0] == ("2 test images of the held-out classes yak",)


def test_unknown_images_of_a_class_that_is_known_are_refused(tmp_path: Path) -> None:
    config = marked(tmp_path, ["0.png,ant,unknown,"])
    with pytest.raises(UserError, match=r"1 class\(es\) have images of split unknown and"):
        load_splits(config)
