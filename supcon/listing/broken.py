"""What is said of files that are no readable images: all of them at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

from supcon.listing.listing import SHOWN
from supcon.parsing import UserError

WAY_OUT = "or leave such files out with data.broken=skip"


def refuse_broken(problems: Iterable[UserError], n_files: int) -> None:
    """Raise one error for all broken files, a line for each of the first; the rest in a file.

    Args:
        problems: what looking at each of them raised.
        n_files: that were looked at.

    Raises:
        UserError: there are any.
    """
    lines = sorted(str(problem) for problem in problems)
    if len(lines) == 1:
        raise UserError(f"{lines[0]}, {WAY_OUT}")
    if lines:
        where = f"; all are listed in {_written(lines)}" if len(lines) > SHOWN else ""
        count = f"{len(lines):,} of {n_files:,} files are broken{where}"
        raise UserError("\n".join([*lines[:SHOWN], f"{count}; repair or remove them, {WAY_OUT}"]))


def _written(lines: list[str]) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="broken-images-", suffix=".txt", delete=False, errors="surrogateescape"
    ) as file:
        file.write("\n".join(lines) + "\n")
    return file.name
