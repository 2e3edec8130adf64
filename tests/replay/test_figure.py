"""The curves of all methods are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.efficiency.figure import draw
from tests.benchmarks.efficiency.table import Anytime


def test_every_method_has_a_curve_and_a_name(tmp_path: Path) -> None:
    costs = np.arange(1.0, 21.0)
    curves = (("random", 9), ("b", 3))
    found = {name: Anytime(costs, np.tile(by / costs, (5, 1))) for name, by in curves}
    draw(found, "a record", tmp_path / "x.svg")
    drawn = (tmp_path / "x.svg").read_text(encoding="utf-8")
    for words in ("<!-- random -->", "<!-- b -->", "<!-- a record -->", "full trials of an arm"):
        assert words in drawn
