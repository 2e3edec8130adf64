"""What is said of broken files."""

from __future__ import annotations

from pathlib import Path

import pytest

from supcon.listing.broken import refuse_broken
from supcon.parsing import UserError


def problems(n: int) -> list[UserError]:
    return [UserError(f"{i}.jpg: not a readable image; repair or remove it") for i in range(n)]


def test_a_single_broken_file_is_named_in_a_line() -> None:
    refuse_broken([], 7)
    with pytest.raises(UserError) as error:
        refuse_broken(problems(1), 7)
    assert str(error.value) == (
        "0.jpg: not a readable image; repair or remove it, or leave such files out with "
        "data.broken=skip"
    )


def test_of_many_broken_files_the_first_ten_are_named_and_all_are_in_a_file() -> None:
    with pytest.raises(UserError) as error:
        refuse_broken(problems(12), 3400)
    *named, last = str(error.value).splitlines()
    assert len(named) == 10
    assert last.startswith("12 of 3,400 files are broken; all are listed in ")
    file = Path(last.split("listed in ")[1].split(";")[0])
    assert file.read_text().splitlines() == sorted(map(str, problems(12)))
    file.unlink()
