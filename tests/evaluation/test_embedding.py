"""One pass of images through a network: of all of them, in order, leaving no trace."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supcon.config import Config
from supcon.evaluation.embedding import BATCH, Embedded, embed
from supcon.images.split import Splits
from supcon.network.models import Encoder, Network, network_for

CPU = torch.device("cpu")


class Sum(nn.Module):
    """Features of an image: the sum over each channel, times weights."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)
        self.linear.weight = nn.Parameter(torch.eye(3) / 2)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.linear(images.sum((2, 3)))
        return x


def sums() -> Network:
    """A network whose features are half the sums over channels, and its output that of these."""
    head = nn.Linear(3, 1, bias=False)
    nn.init.ones_(head.weight)
    return Network(Encoder(Sum(), torch.zeros(3), torch.ones(3)), head).eval()


def pixels(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)


def embedded(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Embedded:
    return embed(sums(), images, device=CPU, autocast=nullcontext)


@pytest.mark.parametrize("n", [1, BATCH, BATCH + 1, 2 * BATCH + 7])
def test_embedding_equals_one_big_forward_pass(n: int) -> None:
    images = pixels(n)
    images.setflags(write=False)  # as handed out by a search
    found = embedded(images)
    expected = 0.5 * torch.tensor(images.astype(np.float32).sum((1, 2))) / 255
    torch.testing.assert_close(found.features, expected)
    torch.testing.assert_close(found.outputs, expected.sum(1, keepdim=True))


def test_embedding_keeps_no_graph() -> None:
    found = embedded(pixels(3))
    assert not found.features.requires_grad
    assert not found.outputs.requires_grad


def test_each_image_goes_through_encoder_and_head_once() -> None:
    network, n = sums(), BATCH + 9
    seen: dict[nn.Module, list[Tensor]] = {network.encoder: [], network.head: []}
    for module, inputs in seen.items():
        module.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0]))
    images = pixels(n)
    found = embed(network, images, device=CPU, autocast=nullcontext)
    encoded = torch.cat(seen[network.encoder])
    assert torch.equal(encoded, torch.tensor(images).permute(0, 3, 1, 2))
    assert torch.equal(torch.cat(seen[network.head]), found.features)


def test_embedding_ignores_the_order_of_images() -> None:
    images = pixels(BATCH + 9)
    found, turned = embedded(images), embedded(images[::-1].copy())
    assert torch.equal(turned.features.flip(0), found.features)
    assert torch.equal(turned.outputs.flip(0), found.outputs)


def test_embeddings_are_fp32_under_autocast() -> None:
    found = embed(
        sums(), pixels(3), device=CPU, autocast=lambda: torch.autocast("cpu", torch.bfloat16)
    )
    for values in (found.features, found.outputs):
        assert values.dtype == torch.float32
        assert torch.equal(values, values.bfloat16().float())  # computed in bf16


def test_embedding_leaves_the_network_bit_identical(tiny: Config, digits: Splits) -> None:
    network = network_for(tiny, digits).eval()
    before = copy.deepcopy(network.state_dict())
    embed(network, digits.val.images, device=CPU, autocast=nullcontext)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
