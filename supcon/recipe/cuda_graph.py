"""The network's passes as CUDA graphs: a GPU told once what it does in every step.

A forward and a backward pass of resnet18 are about 200 kernels. Below 256 images a batch, Python
takes longer to launch them one by one than a large GPU to run them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from supcon.network.device import Autocast
from supcon.recipe.recomputation import Forward, unchanged_buffers


def graphed(network: nn.Module, images: Tensor, autocast: Autocast) -> Forward:
    """The same function of a batch of images, differentiable, for batches like `images`.

    Args:
        network: on a GPU, in training mode; its parameters stay where they are, and it can still
            be called, copied and evaluated by itself.
        images: (N, C, H, W), of which shape, type and layout count.
        autocast: makes the context of the forward pass.
    """
    # The graph is put in place of the forward method of what is given, so not of the network.
    alike = nn.Sequential(network)
    # It is run a few times before it is recorded, which BatchNorm would count.
    with unchanged_buffers(network), autocast():
        torch.set_autocast_cache_enabled(False)  # what it keeps, the graph would not make again
        return cast(Forward, torch.cuda.make_graphed_callables(alike, (images,)))
