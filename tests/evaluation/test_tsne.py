"""t-SNE pictures: of which images, and that what lies apart is drawn apart."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from supcon.config import Config
from supcon.evaluation.trained import Trained, embed_with
from supcon.evaluation.tsne import Panel, draw_tsne, flatten_to_plane, panels_of
from supcon.images.split import Splits


def clouds(n: int, *, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Directions about one axis for each class."""
    y = torch.arange(n) % classes
    noise = torch.randn(n, classes + 1, generator=torch.Generator().manual_seed(seed))
    return nn.functional.one_hot(y, classes + 1) + 0.05 * noise, y


def test_there_is_a_panel_for_train_and_val_before_and_after_the_head(
    tiny: Config, digits: Splits, trained: Trained
) -> None:
    panels = panels_of(trained, tiny, digits, 50)
    assert [panel.title for panel in panels] == [
        f"{part}, {where} the head" for part in ("train", "val") for where in ("before", "after")
    ]
    for i, split in enumerate((digits.train, digits.val)):
        evenly = np.linspace(0, len(split) - 1, 50).astype(int)
        some = split.take(evenly)
        expected = embed_with(trained, tiny, some.images)
        before, after = panels[2 * i : 2 * i + 2]
        assert before.labels.tolist() == after.labels.tolist() == some.labels.tolist()
        assert torch.equal(before.embeddings, expected.features)
        assert torch.equal(after.embeddings, expected.outputs)


def test_a_split_of_fewer_images_is_shown_whole(
    tiny: Config, digits: Splits, trained: Trained
) -> None:
    panels = panels_of(trained, tiny, digits, 10**6)
    assert [len(panel.labels) for panel in panels] == [200, 200, len(digits.val), len(digits.val)]
    assert panels[0].labels.tolist() == digits.train.labels.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 12, 60])
def test_what_lies_in_one_direction_is_drawn_together(n: int) -> None:
    x, y = clouds(n, classes=2 if n < 12 else 3)
    points = torch.tensor(flatten_to_plane(x, seed=0))
    assert points.shape == (n, 2)
    assert points.isfinite().all()
    if n == 60:
        distances = torch.cdist(points, points).fill_diagonal_(torch.inf)
        assert torch.equal(y[distances.argmin(1)], y)


@pytest.mark.slow
def test_the_picture_is_a_function_of_directions_and_seed() -> None:
    x, _ = clouds(30)
    lengths = 2.0 ** (torch.arange(30) % 5 - 2)[:, None]  # exact
    points = flatten_to_plane(x, seed=1)
    assert np.array_equal(flatten_to_plane(x * lengths, seed=1), points)
    assert np.array_equal(flatten_to_plane(x, seed=1), points)


@pytest.fixture
def _two_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of t-SNE, which takes a process and a second for each panel."""
    monkeypatch.setattr("supcon.evaluation.tsne.flatten_to_plane", lambda x, _: x[:, :2].numpy())


def shown(path: Path) -> list[str]:
    """The text of an SVG."""
    nodes = ElementTree.parse(path).iter()
    return [node.text or "" for node in nodes if node.tag.endswith("text")]


@pytest.mark.slow
@pytest.mark.usefixtures("_two_axes")
def test_the_legend_shows_every_name_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.evaluation.lettering._installed", list)
    names = [
        "$5 and $10",
        "a_$x^$",
        "_background_",
        "<b>&",
        "\u0639\u0631\u0628",
        "名前",
        "x" * 200,
    ]
    x, y = clouds(7 * 6, classes=7)
    lacking = draw_tsne([Panel("one", x, y)] * 2, names, 0, tmp_path / "x.png")
    assert lacking == "前名"  # in the SVG they are text, and whoever shows it has the fonts
    assert shown(tmp_path / "x.svg") == ["one", "one", *names]
    assert draw_tsne([Panel("one", x, y)], [*names[:5], "a", "b"], 0, tmp_path / "y.png") == ""
    assert not (tmp_path / "y.svg").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_two_axes")
@pytest.mark.parametrize(("classes", "has_legend"), [(3, True), (21, False)])
def test_panels_stand_side_by_side_and_many_classes_have_no_legend(
    tmp_path: Path, classes: int, has_legend: bool
) -> None:
    x, y = clouds(42, classes=classes)
    names = [f"class {i}" for i in range(classes)]
    draw_tsne([Panel("one", x, y), Panel("other", x, y)], names, 0, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (1200, 600)
        is_dark = np.asarray(picture.convert("L")) < 128
    frame = np.flatnonzero(is_dark.mean(1) > 0.8)[-1]  # the lower edge of both panels
    below = is_dark[frame + 3 :]
    assert below.any() == has_legend
