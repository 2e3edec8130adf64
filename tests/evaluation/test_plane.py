"""t-SNE in a process of its own, which may crash or take too long."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from supcon.evaluation import plane
from supcon.evaluation.plane import NotDrawn, NothingToDraw, flatten


@pytest.fixture
def some() -> plane.Floats:
    return np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


@pytest.mark.slow
def test_places_are_those_that_scikit_learn_gives_in_this_process(some: plane.Floats) -> None:
    from sklearn.manifold import TSNE

    tsne = TSNE(perplexity=13, init="pca", random_state=3)
    np.testing.assert_allclose(flatten(some, 3), tsne.fit_transform(some), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_features_that_are_all_equal_are_not_drawn(value: float) -> None:
    x = np.full((200, 32), value, np.float32)
    x[::2] = np.nextafter(x[::2], np.float32(2)) if value else x[::2]  # but for rounding
    with pytest.raises(NothingToDraw, match=r"^the features of all images are equal$"):
        flatten(x, 0)


@pytest.mark.parametrize(
    ("x", "why"),
    [(np.ones((4, 3)), "4 images are too few"), (np.full((9, 3), np.nan), "are not finite")],
)
def test_what_cannot_be_drawn_is_said(x: plane.Floats, why: str) -> None:
    with pytest.raises(NothingToDraw, match=why):
        flatten(x, 0)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"^t-SNE crashed \(SIGSEGV\)$"),
        ("raise ValueError('bad')", r"^t-SNE failed \(ValueError: bad\)$"),
        ("import time; time.sleep(60)", r"^t-SNE took longer than 0\.5 s$"),
    ],
)
def test_a_process_that_ends_otherwise_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some: plane.Floats, code: str, why: str
) -> None:
    (tmp_path / "child.py").write_text(code)
    monkeypatch.setattr(plane, "__file__", str(tmp_path / "child.py"))
    with pytest.raises(NotDrawn, match=why):
        flatten(some, 0, 0.5 if "sleep" in code else None)


def test_a_process_that_cannot_be_started_is_said(
    monkeypatch: pytest.MonkeyPatch, some: plane.Floats
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(NotDrawn, match="no process could be started"):
        flatten(some, 0)
