"""What is said of a space that is refused."""

from __future__ import annotations

from typing import Any

import pytest

from search.space.loading import parse_space
from supcon.parsing import UserError


def refusal(tree: dict[str, Any]) -> str:
    """The message, each line of which opens with the file."""
    with pytest.raises(UserError) as error:
        parse_space(tree, "x.yaml")
    said = str(error.value)
    assert all(line.startswith("x.yaml: ") for line in said.splitlines())
    return said
