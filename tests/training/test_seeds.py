"""Seeds derived from seeds."""

from __future__ import annotations

import subprocess
import sys

from supcon.seeds import derive_seed


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "weights") == 31_069_315
    assert derive_seed(7, "order", 3) == 216_435_520


def test_a_seed_does_not_depend_on_the_process() -> None:
    code = "from supcon.seeds import derive_seed; print(derive_seed(3, 'supcon', 'search', 12))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hashes},
            check=True,
            text=True,
            capture_output=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert found == {f"{derive_seed(3, 'supcon', 'search', 12)}\n"}


def test_seeds_fill_their_range_evenly() -> None:
    seeds = [derive_seed(0, "order", epoch) for epoch in range(4000)]
    assert len(set(seeds)) == 4000
    assert all(0 <= seed < 2**31 for seed in seeds)
    counts = [sum(seed >> 28 == eighth for seed in seeds) for eighth in range(8)]
    assert 400 < min(counts) <= max(counts) < 600


def test_every_part_and_its_place_count() -> None:
    parts = [(1, 2), (2, 1), (12,), (1, 2, 0), ("1", "supcon"), (1, "ce")]
    assert len({derive_seed(*each) for each in parts}) == len(parts)
