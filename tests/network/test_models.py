"""Backbones, stems and heads: what is built, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from supcon.config import Config, LossConfig, ModelConfig, override
from supcon.images.split import Splits
from supcon.network.models import (
    Encoder,
    JointHead,
    Network,
    ProjectionHead,
    build_encoder,
    build_network,
    by_head,
    network_for,
)
from supcon.parsing import UserError

HALF = torch.full((3,), 0.5)


def pixels(n: int, size: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (n, channels, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def encoder(backbone: str, size: int, **options: Any) -> Encoder:
    settings: dict[str, Any] = {"mean": HALF, "std": HALF} | options
    return build_encoder(backbone, image_size=size, **settings)


def resolution(backbone: str, size: int, layer: str, **options: Any) -> tuple[int, ...]:
    """Height and width of what the named layer puts out."""
    net = encoder(backbone, size, **options).eval()
    seen: list[tuple[int, ...]] = []
    net.backbone.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: seen.append(tuple(output.shape[2:]))
    )
    net(pixels(1, size))
    return seen[0]


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("resnet18", 16),
        ("resnet18", 32),
        ("test_resnet", 16),
        ("test_efficientnet", 16),
        ("test_convnext", 16),
        ("test_nfnet", 16),
        ("test_vit", 16),
        ("test_vit", 32),
        ("vit_tiny_patch16_224", 32),
        ("densenet121", 16),
        ("mobilenetv3_small_100", 16),
        ("regnetx_002", 16),
        ("efficientnet_b0", 32),
        pytest.param("vgg11_bn", 32, marks=pytest.mark.slow),
    ],
)
def test_a_backbone_learns_and_takes_a_single_image(backbone: str, size: int) -> None:
    net = encoder(backbone, size)
    assert net.training
    features = net(pixels(4, size))
    assert features.shape == (4, net.dim)
    assert features.isfinite().all()
    features.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert net.eval()(pixels(1, size)).shape == (1, net.dim)


def test_a_backbone_takes_grey_images() -> None:
    net = encoder("test_resnet", 16, mean=HALF[:1], std=HALF[:1])
    assert net(pixels(2, 16, channels=1)).shape == (2, net.dim)


@pytest.mark.parametrize(
    ("size", "stem", "expected"),
    [
        (32, "auto", (4, 4)),
        (32, "small", (4, 4)),
        (32, "full", (1, 1)),
        (16, "auto", (2, 2)),
        (64, "auto", (8, 8)),
        (96, "auto", (3, 3)),
        (96, "small", (12, 12)),
    ],
)
def test_the_stem_fits_the_image_size(size: int, stem: str, expected: tuple[int, int]) -> None:
    assert resolution("resnet18", size, "layer4", stem=stem) == expected


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        ("densenet121", "features.norm5"),
        ("test_convnext", "stages.3"),
        ("mobilenetv3_small_100", "blocks"),
    ],
)
def test_the_small_stem_keeps_more_pixels_than_the_full_one(backbone: str, layer: str) -> None:
    small, full = (resolution(backbone, 64, layer, stem=stem) for stem in ("small", "full"))
    assert small[0] >= 2 * full[0]


@pytest.mark.parametrize(
    ("size", "stem", "told"),
    [(32, "auto", "small stem"), (96, "auto", "full stem"), (32, "full", "full stem")],
)
def test_an_encoder_tells_its_stem_and_size(size: int, stem: str, told: str) -> None:
    net = encoder("resnet18", size, stem=stem)
    assert net.describe() == f"{told}, 11.2 million parameters"


def test_building_leaves_batchnorm_as_new() -> None:
    net = encoder("test_resnet", 16)
    fresh = timm.create_model("test_resnet", num_classes=0)
    buffers = dict(net.backbone.named_buffers())
    assert buffers
    for name, buffer in fresh.named_buffers():
        assert torch.equal(buffers[name], buffer), name


class Flat(nn.Module):
    num_features = 12

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_the_encoder_normalises_raw_pixels_itself() -> None:
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 1.0])
    net = Encoder(Flat(), mean, std)
    images = pixels(3, 2)
    expected = images / 255
    for channel in range(3):
        expected[:, channel] = (expected[:, channel] - mean[channel]) / std[channel]
    torch.testing.assert_close(net(images), expected.flatten(1))
    assert {"mean", "std"} <= set(net.state_dict())


def test_the_linear_head_is_one_matrix_and_the_mlp_two_with_a_relu_between() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 16)
    head = ProjectionHead(16, 4, "linear")
    weight, bias = head.parameters()
    torch.testing.assert_close(head(x), x @ weight.T + bias)
    head = ProjectionHead(16, 4, "mlp")
    weight_1, bias_1, weight_2, bias_2 = head.parameters()
    hidden = (x @ weight_1.T + bias_1).clamp(min=0)
    torch.testing.assert_close(head(x), hidden @ weight_2.T + bias_2)


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_projections_are_left_for_the_loss_to_normalise(kind: str) -> None:
    torch.manual_seed(0)
    z = ProjectionHead(16, 4, kind)(torch.randn(5, 16))
    assert z.shape == (5, 4)
    assert (z.norm(dim=1) - 1).abs().min() > 0.01


def network(loss: str) -> Network:
    return build_network(
        ModelConfig(backbone="test_resnet", head_dim=24),
        LossConfig.model_validate({"name": loss}),
        image_size=16,
        classes=7,
        mean=HALF,
        std=HALF,
    )


@pytest.mark.parametrize(
    ("loss", "head", "width"),
    [
        ("ce", nn.Linear, 7),
        ("supcon", ProjectionHead, 24),
        ("sincere", ProjectionHead, 24),
        ("simclr", ProjectionHead, 24),
        ("supcon_ce", JointHead, 24 + 7),
    ],
)
def test_cross_entropy_gets_logits_and_contrastive_losses_projections(
    loss: str, head: type[nn.Module], width: int
) -> None:
    net = network(loss)
    assert type(net.head) is head
    assert net(pixels(3, 16)).shape == (3, width)


def test_a_joint_head_gives_what_its_heads_give_and_by_head_takes_it_apart() -> None:
    net = network("supcon_ce")
    features = torch.randn(3, net.encoder.dim)
    assert isinstance(net.head, JointHead)
    expected = net.head.projection(features), net.head.classifier(features)
    config = override(Config(), {"loss.name": "supcon_ce", "model.head_dim": 24})
    assert all(map(torch.equal, by_head(net.head(features), config), expected))


@pytest.mark.parametrize(("loss", "widths"), [("supcon", (9, 0)), ("ce", (0, 9))])
def test_outputs_of_one_head_are_all_its_own(loss: str, widths: tuple[int, int]) -> None:
    config = override(Config(), {"loss.name": loss, "model.head_dim": 4})
    projections, logits = by_head(torch.ones(2, 9), config)
    assert (projections.shape[1], logits.shape[1]) == widths


@pytest.mark.parametrize("loss", ["supcon", "sincere", "simclr", "supcon_ce"])
def test_contrastive_losses_get_the_encoder_of_cross_entropy(loss: str) -> None:
    states = []
    for name in ("ce", loss):
        torch.manual_seed(5)
        states.append(network(name).encoder.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("name", "similar"), [("resnt18", "resnet18"), ("ResNet18", "resnet18"), ("vit_tny", "vit_")]
)
def test_an_unknown_backbone_gets_similar_names(name: str, similar: str) -> None:
    with pytest.raises(UserError) as error:
        encoder(name, 32)
    message, hint = str(error.value).split("; similar: ")
    assert message == f"model.backbone: timm has no model '{name}'"
    assert similar in hint


def test_a_name_unlike_any_gets_no_hint() -> None:
    with pytest.raises(UserError, match=r"^model\.backbone: timm has no model '#'$"):
        encoder("#", 32)


def test_an_unknown_tag_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^model\.backbone: resnet18\.nope cannot be built: .*nope"
    ):
        encoder("resnet18.nope", 32)


@pytest.mark.parametrize(
    ("backbone", "size"), [("mixer_s16_224", 32), ("inception_v3", 32), ("test_vit", 9)]
)
def test_a_size_that_a_backbone_cannot_take_is_refused_in_one_line(
    backbone: str, size: int
) -> None:
    with pytest.raises(UserError) as error:
        encoder(backbone, size)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"model.backbone: {backbone} cannot take {size}x{size} images (")
    assert line.endswith("choose another backbone or data.image_size")


def test_the_network_normalises_with_the_statistics_of_the_training_images(
    tiny: Config, digits: Splits
) -> None:
    encoder = network_for(tiny, digits).encoder
    pixels = torch.tensor(digits.train.images).double() / 255
    assert encoder.mean.item() == pytest.approx(pixels.mean().item(), abs=1e-6)
    assert encoder.std.item() == pytest.approx(pixels.std(correction=0).item(), abs=1e-6)
