"""The weights that the trials of a space start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.preflight.pretrained import configs_by_backbone, describe_weights, pinned_weights
from search.space.loading import parse_space
from search.space.space import Space
from supcon.network.weights import sha256
from supcon.parsing import UserError


def space(base: dict[str, object], **params: object) -> Space:
    lr = {"optim.lr_per_256": {"loguniform": [0.1, 1]}}
    tree = {"name": "x", "base": {"model": base}, "params": {**params, **lr}}
    return parse_space(tree | {"budget": {"trials": 2}}, "x")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / name for name in ("a.pth", "b.pth")]
    for path in paths:
        path.write_text(path.name)
    return [str(path) for path in paths]


def test_a_space_from_scratch_has_none() -> None:
    assert pinned_weights(space({})) == {}
    assert describe_weights({}) == []


def test_each_file_that_may_be_drawn_is_found_and_hashed(files: list[str]) -> None:
    found = pinned_weights(space({}, **{"model.weights": {"choice": ["none", *files]}}))
    assert found == {
        file: {"model.weights": file, "model.weights_hash": sha256(Path(file))} for file in files
    }
    assert (
        describe_weights(found)[0]
        == f"weights   {files[0]}, SHA-256 {sha256(Path(files[0]))[:12]}..."
    )


def test_backbones_and_weights_are_paired_as_they_are_drawn(files: list[str]) -> None:
    a, b = files
    drawn = space(
        {"backbone": "resnet18"},
        **{
            "model.backbone": {"choice": ["resnet18", "resnet34"]},
            "model.weights": {"choice": [a, b], "when": {"model.backbone": "resnet34"}},
        },
    )
    pairs = {(c.model.backbone, c.model.weights) for c in configs_by_backbone(drawn, "ce")}
    assert pairs == {("resnet18", "none"), ("resnet34", a), ("resnet34", b)}


def test_timm_has_other_weights_for_each_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.preflight.pretrained.pinned", lambda model: {"of": model.backbone})
    found = pinned_weights(
        space({"weights": "timm"}, **{"model.backbone": {"choice": ["resnet18", "resnet34"]}})
    )
    assert found == {f"timm:{name}": {"of": name} for name in ("resnet18", "resnet34")}


def test_a_file_that_is_not_there_is_refused_before_the_search() -> None:
    with pytest.raises(UserError, match=r"model\.weights: there is no file"):
        pinned_weights(space({"weights": "/nowhere/a.pth"}))
