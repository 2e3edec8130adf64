"""Which files of a folder are images, of which class and part, and in which order."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest

from supcon.listing.folder import list_folder
from supcon.parsing import UserError


def lay(root: Path, *names: str) -> Path:
    """Empty files; names that end in / are folders."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return root


def minimal(root: Path, parts: Iterable[str] = ("train", "test")) -> Path:
    """Two classes of one image each in every part."""
    return lay(root, *(f"{part}/{name}/0.png" for part in parts for name in ("cat", "dog")))


def names(root: Path) -> list[str]:
    return [os.fsdecode(name) for name in list_folder(root).names]


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as error:
        list_folder(root)
    (line,) = str(error.value).splitlines()
    return line


def test_images_are_listed_in_order_of_part_class_and_name(tmp_path: Path) -> None:
    lay(tmp_path, "train/b/1.png", "train/a/2.png", "train/a/1.png", "test/b/0.png", "test/a/0.png")
    found = list_folder(tmp_path)
    assert names(tmp_path) == [
        "train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/0.png", "test/b/0.png"
    ]  # fmt: skip
    assert found.classes == ("a", "b")
    assert found.labels.tolist() == [0, 0, 1, 0, 1]
    assert found.parts.tolist() == ["train"] * 3 + ["test"] * 2
    assert found.groups is None


def test_images_deeper_in_a_class_are_found_each_folder_in_order(tmp_path: Path) -> None:
    inner = ("b/2.PNG", "b/1.jpeg", "a/x/9.png", "a/x/y/1.tif", "a/0.gif", "b/.x/1.png")
    lay(tmp_path, *(f"owl/{name}" for name in inner), "owl/a/x/9.png.txt", "cat/0.png")
    assert names(tmp_path)[1:] == [
        f"owl/{name}" for name in ("a/0.gif", "a/x/9.png", "a/x/y/1.tif", "b/1.jpeg", "b/2.PNG")
    ]


@pytest.mark.parametrize(
    "suffix", [".jpe", ".JPG", ".jp2", ".ico", ".tga", ".avif", ".pcx", ".dds"]
)
def test_what_pillow_can_decode_is_an_image(tmp_path: Path, suffix: str) -> None:
    minimal(tmp_path)
    lay(tmp_path, f"train/cat/1{suffix}")
    assert f"train/cat/1{suffix}" in names(tmp_path)


def test_what_is_left_out_is_counted_by_suffix_and_reason(tmp_path: Path) -> None:
    minimal(tmp_path)
    lay(tmp_path, "train/cat/a.txt", "train/cat/b.TXT", "train/dog/c.mp4", "train/dog/noname")
    lay(tmp_path, "train/loose.png", "README.md", "train/cat/._0.png", "test/cat/Thumbs.db")
    found = list_folder(tmp_path)
    assert len(found) == 4
    assert found.left_out.counts == {
        ("no image by its suffix", ".txt"): 2,
        ("no image by its suffix", ".mp4"): 1,
        ("no image by its suffix", ""): 1,
        ("no image by its suffix", ".md"): 1,
        ("beside the class folders", ".png"): 1,
        ("hidden, or another program's", ".png"): 1,
        ("hidden, or another program's", ".db"): 1,
    }


@pytest.mark.parametrize(
    "name", ["__MACOSX", "@eaDir", "lost+found", ".ipynb_checkpoints", "thumbnails", ".thumbnails"]
)
def test_folders_of_other_programs_are_passed_over_and_named(tmp_path: Path, name: str) -> None:
    minimal(tmp_path)
    places = [f"train/{name}", f"test/{name}", f"train/cat/{name}", name]
    lay(tmp_path, *(f"{place}/0.png" for place in places))
    found = list_folder(tmp_path)
    assert (len(found), found.classes) == (4, ("cat", "dog"))
    assert sorted(found.left_out.passed_over) == sorted(places)


def test_folders_that_are_no_part_are_named(tmp_path: Path) -> None:
    minimal(tmp_path)
    lay(tmp_path, "extra/cat/0.png")
    assert list_folder(tmp_path).left_out.passed_over == ("extra",)


# Parts


def test_a_folder_of_classes_alone_has_no_parts(tmp_path: Path) -> None:
    lay(tmp_path, "cat/0.png", "cat/1.png", "dog/0.png")
    found = list_folder(tmp_path)
    assert found.parts.tolist() == [""] * 3
    assert found.classes == ("cat", "dog")
    assert found.folders == {}


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "test"), {"train", "test"}),
        (("Train", "TEST"), {"train", "test"}),
        (("training", "testing"), {"train", "test"}),
        (("train", "test", "valid"), {"train", "test", "val"}),
        (("train", "test", "validation"), {"train", "test", "val"}),
        (("training", "test", "dev"), {"train", "test", "val"}),
        (("training", "racing"), {""}),  # a class: nothing else looks like a part
    ],
)
def test_parts_have_their_usual_names(
    tmp_path: Path, folders: tuple[str, ...], parts: set[str]
) -> None:
    assert set(list_folder(minimal(tmp_path, folders)).parts.tolist()) == parts


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("train", "test", "val", "valid"), "val and valid could each be val; keep one of them"),
        (("train", "training", "test"), "train and training could each be train; keep one"),
        (("val", "cat"), "train is missing, but val is there; add it, or, if that is a class"),
        (("train",), "test is missing; a folder data set has train/<class>/*.jpg and"),
    ],
)
def test_parts_that_could_mean_two_things_or_are_missing_are_refused_by_name(
    tmp_path: Path, folders: tuple[str, ...], words: str
) -> None:
    assert words in refusal(minimal(tmp_path, folders))


def test_what_is_wrong_with_test_does_not_stop_training(tmp_path: Path) -> None:
    minimal(tmp_path, ("train",))
    assert len(list_folder(tmp_path, with_test=False)) == 2


# Links


def test_each_real_folder_is_looked_at_once_and_links_back_are_named(tmp_path: Path) -> None:
    minimal(tmp_path)
    lay(tmp_path, "train/dog/puppies/1.png")
    (tmp_path / "train/cat/up").symlink_to("..")
    (tmp_path / "train/cat/root").symlink_to(tmp_path)
    (tmp_path / "train/cat/above").symlink_to(tmp_path.parent)
    (tmp_path / "train/cat/self").symlink_to(".")
    (tmp_path / "train/cat/puppies").symlink_to("../dog/puppies")  # cat comes first, yet is no dog
    assert names(tmp_path) == [
        "train/cat/0.png", "train/dog/0.png", "train/dog/puppies/1.png", "test/cat/0.png",
        "test/dog/0.png",
    ]  # fmt: skip
    assert sorted(list_folder(tmp_path).left_out.loops) == [
        f"train/cat/above -> {tmp_path.parent}",
        "train/cat/puppies -> train/dog/puppies",
        "train/cat/root -> .",
        "train/cat/self -> train/cat",
        "train/cat/up -> train",
    ]


def test_a_link_to_images_elsewhere_is_followed_once(tmp_path: Path) -> None:
    root = minimal(tmp_path / "root")
    lay(tmp_path, "elsewhere/deep/7.png")
    (root / "train/cat/more").symlink_to(tmp_path / "elsewhere")
    (root / "train/dog/more").symlink_to(tmp_path / "elsewhere")
    assert [n for n in names(root) if "more" in n] == ["train/cat/more/deep/7.png"]
    assert list_folder(root).left_out.loops == ("train/dog/more -> train/cat/more",)


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    root = minimal(tmp_path / "root")
    lay(tmp_path, "owls/0.png")
    (root / "train/owl").symlink_to(tmp_path / "owls")
    assert "train/owl/0.png" in names(root)


@pytest.mark.parametrize("place", ["train/owl", "test/owl"])
def test_one_folder_as_two_classes_or_in_two_parts_is_refused(tmp_path: Path, place: str) -> None:
    minimal(tmp_path)
    lay(tmp_path, "train/owl/0.png")
    if place == "train/owl":
        (tmp_path / "train/eagle").symlink_to("owl")
    else:
        (tmp_path / "test/owl").symlink_to("../train/owl")
    assert "is the same folder as" in refusal(tmp_path)


# Classes


def test_a_class_is_found_in_test_whichever_way_its_name_is_stored(tmp_path: Path) -> None:
    one, two = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    lay(tmp_path, f"train/{one}/0.png", "train/tea/0.png", f"test/{two}/0.png")
    found = list_folder(tmp_path)
    assert found.classes == (one, "tea")
    assert found.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ("dog", "Dog", "test/Dog: class 'Dog' is 'dog' in train; rename one of them"),
        ("dog", "dog ", "class 'dog ' is 'dog' in train"),
        ("hot dog", "hot  dog", "class 'hot  dog' is 'hot dog' in train"),
        ("dog", "dgo", "class 'dgo' is not in train/; did you mean 'dog'?"),
    ],
)
def test_a_class_of_test_that_only_looks_like_one_of_train_is_refused(
    tmp_path: Path, train: str, test: str, words: str
) -> None:
    lay(tmp_path, f"train/{train}/0.png", "train/ant/0.png", f"test/{test}/0.png")
    assert words in refusal(tmp_path)


def test_two_classes_that_look_the_same_are_refused_with_both_names(tmp_path: Path) -> None:
    lay(tmp_path, "train/dog/0.png", "train/dog /0.png", "test/dog/0.png")
    assert "train: classes 'dog' and 'dog ' look the same; merge them" in refusal(tmp_path)


def test_letters_in_upper_and_lower_case_are_classes(tmp_path: Path) -> None:
    lay(tmp_path, "train/a/0.png", "train/A/0.png", "test/A/0.png")
    assert list_folder(tmp_path).labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("classes", [[], ["one"]])
def test_fewer_than_two_classes_are_refused(tmp_path: Path, classes: list[str]) -> None:
    lay(tmp_path, *(f"{name}/0.png" for name in classes))
    assert f"{tmp_path}: at least 2 class folders are needed, got {len(classes)}" in refusal(
        tmp_path
    )


def test_a_part_without_images_is_refused(tmp_path: Path) -> None:
    minimal(tmp_path)
    lay(tmp_path, "val/cat/", "val/dog/notes.txt")
    assert f"{tmp_path}/val: holds no images (.jpg, .png, and" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", os.fsdecode(b"caf\xe9")])
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_whose_name_cannot_be_shown_is_refused_in_one_line(
    tmp_path: Path, name: str, part: str
) -> None:
    lay(minimal(tmp_path), f"{part}/{name}/")
    assert "must be text in UTF-8 without control" in refusal(tmp_path)


def test_a_class_may_be_called_anything_else(tmp_path: Path) -> None:
    classes = ("$5 and $10", "_x_", "a_$x^$", "zz|<b>", "名前")
    lay(tmp_path, *(f"{name}/0.png" for name in classes))
    assert list_folder(tmp_path).classes == classes


def test_a_name_that_is_no_text_is_that_of_an_image_like_any_other(tmp_path: Path) -> None:
    lay(tmp_path, "cat/0.png", "owl/" + os.fsdecode(b"\xff.png"))
    assert list_folder(tmp_path).names.tolist() == [b"cat/0.png", b"owl/\xff.png"]


def test_a_folder_that_no_folder_can_be_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (File name too long)" in refusal(tmp_path / ("x" * 300))
    assert f"data.root: {tmp_path}/none is missing" in refusal(tmp_path / "none")
