"""Arrays in a log come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from search.log.packed import pack, pack_labels, unpack, unpack_labels


def test_labels_come_back_as_they_were_packed() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 500)
    assert unpack_labels(pack_labels(labels)).tolist() == labels.tolist()


@pytest.mark.parametrize("n", [0, 8, 101])
def test_bits_come_back_as_they_were_packed(n: int) -> None:
    correct = np.random.default_rng(0).random(n) < 0.5
    assert unpack(pack(correct), n).tolist() == correct.tolist()
