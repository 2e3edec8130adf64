"""Seeds derived from seeds: each random stream of a study has its own, whatever the order."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2**31) that is a function of `parts` alone, on every machine.

    Example:
        `derive_seed(study_seed, "supcon", "search", 12)` is the seed of that arm's trial 12.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
