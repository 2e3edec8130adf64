"""Steps in less memory: activations that are made again in the backward pass.

`in_micro_batches` gives a batch's exact gradient from activations of one micro-batch at a time
(GradCache, Gao et al. 2021, arXiv:2101.06983). A contrastive loss compares all views of a batch, so
its gradient is no sum over micro-batches; but it depends on the network through the embeddings
alone. All views are embedded, and of each micro-batch its images are kept and nothing else; the
loss gives a gradient for every embedding; each micro-batch is embedded again, with the same random
numbers, and takes its part of that gradient back to the weights. It is a forward pass more, a third
of a step. Cross entropy goes the same way, so that a step of either loss costs the same.

What a network does with a batch as a whole, it does with a micro-batch: BatchNorm normalises by the
statistics of the micro-batch, and moves its running ones once for each. Dropout draws for one after
the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Forward = Callable[[Tensor], Tensor]


def in_micro_batches(forward: Forward, size: int) -> Forward:
    """The same function of a batch; of its activations, no more than a micro-batch's are there.

    Args:
        forward: (N, ...) -> (N, D), for any N that is at least half of `size`.
        size: rows of a micro-batch at most. All have equally many, give or take one: BatchNorm
            would make little of a rest. A batch that is no larger is not cut up.
    """

    def embed(images: Tensor) -> Tensor:
        parts = math.ceil(len(images) / size)
        if parts == 1:
            return forward(images)
        embedded = [
            checkpoint(forward, part, use_reentrant=False) for part in images.tensor_split(parts)
        ]
        return torch.cat(embedded)

    return embed


@contextmanager
def unchanged_buffers(network: nn.Module) -> Iterator[None]:
    """Put a network's buffers back at the end.

    Where a backward pass runs parts of a network again, BatchNorm would count their images twice.
    """
    buffers = list(network.buffers())
    before = [buffer.clone() for buffer in buffers]
    yield
    with torch.no_grad():
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
