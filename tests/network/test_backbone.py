"""Weights that are given to a backbone: which fit, how they are read, what is said of others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import timm
import torch
from torch import Tensor, nn

from supcon.network.backbone import Misfit, create_backbone


def published(name: str, **options: int) -> nn.Module:
    torch.manual_seed(3)
    net: nn.Module = timm.create_model(name, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
    return net.eval()


def features(net: nn.Module, size: int, channels: int = 3) -> Tensor:
    images = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found: Tensor = net.eval()(images)
    return found


def given(name: str, tensors: Mapping[str, Tensor], size: int, *, small: bool = False) -> nn.Module:
    return create_backbone(name, 3, size, small=small, tensors=tensors)


@pytest.mark.parametrize("prefix", ["", "encoder.backbone.", "backbone.", "encoder.module."])
def test_what_is_published_gives_the_features_of_timm_without_its_classifier(prefix: str) -> None:
    theirs = published("resnet10t")
    tensors = {prefix + name: tensor for name, tensor in theirs.state_dict().items()}
    if prefix:
        tensors["head.layers.0.weight"] = torch.zeros(3, 3)  # of what it was trained with
    theirs.reset_classifier(0)  # type: ignore[operator]
    torch.testing.assert_close(
        features(given("resnet10t", tensors, 96), 96), features(theirs, 96), rtol=0, atol=0
    )


def test_a_classifier_of_other_classes_is_left_out() -> None:
    theirs = published("resnet10t", num_classes=37)
    ours = given("resnet10t", theirs.state_dict(), 96)
    theirs.reset_classifier(0)  # type: ignore[operator]
    torch.testing.assert_close(features(ours, 96), features(theirs, 96), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("small", [True, False])
def test_a_saved_backbone_of_any_stem_is_built_as_it_was(small: bool) -> None:
    fresh = create_backbone("resnet18", 3, 32, small=small)
    kept = given("resnet18", published("resnet18").state_dict(), 32, small=small)
    for saved in (fresh, kept):
        again = given("resnet18", saved.state_dict(), 32, small=small)
        torch.testing.assert_close(features(again, 32), features(saved, 32), rtol=0, atol=0)
    assert kept.get_submodule("conv1").kernel_size == (7, 7)


def test_the_first_convolution_is_fit_to_grey_images() -> None:
    theirs = published("resnet10t")
    ours = create_backbone("resnet10t", 1, 96, small=False, tensors=theirs.state_dict())
    grey = torch.rand(2, 1, 96, 96)
    theirs.reset_classifier(0)  # type: ignore[operator]
    with torch.no_grad():
        torch.testing.assert_close(
            ours.eval()(grey), theirs(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
        )


def test_a_transformer_takes_weights_of_another_image_size() -> None:
    theirs = published("test_vit")  # of 160 pixels
    net = given("test_vit", theirs.state_dict(), 96)
    assert features(net, 96).isfinite().all()
    assert torch.equal(
        net.get_parameter("blocks.0.attn.qkv.weight"),
        theirs.get_parameter("blocks.0.attn.qkv.weight"),
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda tensors: {n: t for n, t in tensors.items() if not n.startswith("layer4")},
            "15 missing (layer4.0.conv1.weight, layer4.0.bn1.weight, layer4.0.bn1.bias and 12 more",
        ),
        (
            lambda tensors: {**tensors, "layer1.0.conv1.weight": torch.zeros(8, 64, 3, 3)},
            "1 of another shape (layer1.0.conv1.weight is (8, 64, 3, 3), not (64, 64, 3, 3))",
        ),
        (
            lambda tensors: {**tensors, "layer9.weight": torch.zeros(8)},
            "1 not of it (layer9.weight)",
        ),
    ],
    ids=["missing", "shape", "extra"],
)
def test_what_does_not_fit_is_named(change: object, told: str) -> None:
    tensors = change(published("resnet10t").state_dict())  # type: ignore[operator]
    with pytest.raises(Misfit) as error:
        given("resnet10t", tensors, 96)
    assert told in str(error.value)


def test_another_model_s_weights_are_refused() -> None:
    with pytest.raises(Misfit, match=r"\d+ missing .*\d+ not of it"):
        given("resnet10t", published("test_vit").state_dict(), 96)
