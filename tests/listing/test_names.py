"""Names of classes that differ, and those that only seem to."""

from __future__ import annotations

import pytest

from supcon.listing.names import check_class_names, class_of, image_suffixes, is_foreign
from supcon.parsing import UserError


def test_the_suffixes_that_were_always_read_still_are() -> None:
    usual = ".jpg .jpeg .jpe .jfif .png .bmp .webp .gif .tif .tiff .ppm .pgm"
    assert set(usual.split()) < image_suffixes()
    assert not {".txt", ".pdf", ".eps", ".mpg", ".h5", ".mp4", ".npy", ""} & image_suffixes()


@pytest.mark.parametrize("name", [".x", "__MACOSX", "@eadir", "Lost+Found", "THUMBS.DB"])
def test_what_programs_leave_is_known_by_name(name: str) -> None:
    assert is_foreign(name)
    assert not is_foreign(f"a{name}")


@pytest.mark.parametrize(
    "pair",
    [("dog", " dog"), ("a b", "a\u00a0b"), ("caf\u00e9", "cafe\u0301"), ("dog", "d\u200bog")],
)
def test_names_that_look_the_same_are_refused_and_both_are_told_apart(
    pair: tuple[str, str],
) -> None:
    with pytest.raises(UserError) as error:
        check_class_names("x", pair)
    assert all(ascii(name) in str(error.value) for name in pair) or "control" in str(error.value)


def test_a_name_means_itself_before_it_means_another() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert class_of(apart, [composed, apart], "x") == 1
    assert class_of(apart, [composed, "tea"], "x") == 0
