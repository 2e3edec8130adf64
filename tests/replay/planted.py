"""A record whose landscape and noise are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from search.space.loading import parse_space
from search.space.space import Space
from supcon.parsing import read_yaml
from tests.benchmarks.efficiency.recorded import Floats, Recorded, features
from tests.benchmarks.efficiency.surrogate import World, configuration

EPOCHS = (1, 2, 3, 4, 6, 9)
NOISE = 0.2
"""Standard deviation of a seed's logits at every epoch."""
FILE = Path(__file__).with_suffix(".yaml")
TREE = read_yaml(FILE)


def space(**changes: Any) -> Space:
    """Of three parameters and two arms, with other rules."""
    return parse_space(TREE | changes, "x")


def truth(x: Floats) -> Floats:
    """(n, features) -> (n, epochs) logits: the best lies at 0.6 of each range, and curves of high
    learning rates start later.
    """
    height = 3 - 3 * ((x - 0.6) ** 2).sum(1)
    return height[:, None] - (1 + x[:, :1]) / np.array(EPOCHS)


def record(of: Space, n: int = 80, repeated: int = 20, seed: int = 0) -> Recorded:
    """So many random configurations, some on three seeds, whose noise is the same at all epochs."""
    rng, drawn = np.random.default_rng(seed), of.arm_params("ce")
    params = [configuration(row, drawn) for row in rng.random((n, len(drawn)))]
    number = np.array([i for i in range(n) for _ in range(3 if i < repeated else 1)])
    x = np.array([features(params[i], drawn) for i in number])
    logits = truth(x) + rng.normal(0, NOISE, (len(x), 1))
    seconds = np.full(len(x), 2.0)
    return Recorded([params[i] for i in number], x, number, EPOCHS, logits, seconds)


def worlds(of: Space) -> dict[str, World]:
    """The same one for both arms."""
    world = World(record(of), of.arm_params("ce"))
    return dict.fromkeys(of.arms, world)
