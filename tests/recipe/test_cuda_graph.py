"""The network's passes as CUDA graphs."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.parsing import UserError
from supcon.recipe.cuda_graph import graphed
from supcon.train import Run


def recorded(module: nn.Module, samples: tuple[Tensor, ...]) -> nn.Module:
    """What torch does on a GPU, but for the graph: warms up and patches what it is given."""
    assert not torch.is_autocast_cache_enabled()
    for _ in range(3):
        torch.autograd.grad(module(*samples).sum(), list(module.parameters()))
    forward = module.forward
    module.forward = lambda *inputs: forward(*inputs)
    return module


def test_a_recorded_network_is_the_same_function_and_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorded)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).train()
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(6, 3, 8, 8)
    forward = graphed(network, torch.zeros_like(images), partial(torch.autocast, "cpu"))
    assert torch.is_autocast_cache_enabled()
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())
    expected = copy.deepcopy(network)(images)  # a copy has its own forward method
    torch.testing.assert_close(forward(images), expected, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_steps_of_a_graph_are_the_steps_without_one(
    tiny: Config, digits: Splits, precision: str
) -> None:
    fixed: dict[str, Any] = {"run.device": "cuda", "run.precision": precision}
    runs = [Run(override(tiny, fixed | {"run.cuda_graph": on}), digits) for on in (False, True)]
    for run in runs:
        run.train_epoch()
        run.train_epoch()
    plain, graph = (run.network.state_dict() for run in runs)
    torch.testing.assert_close(graph, plain, rtol=1e-2, atol=1e-3)
    assert runs[1].evaluate().metrics.keys() == runs[0].evaluate().metrics.keys()


def test_batches_are_like_the_blank_one_that_is_recorded(tiny: Config, digits: Splits) -> None:
    def looks(batch: Tensor) -> tuple[Any, ...]:
        return batch.shape, batch.dtype, batch.is_contiguous(memory_format=torch.channels_last)

    for pipeline in ("resident", "streaming"):
        run = Run(override(tiny, {"data.pipeline": pipeline}), digits)
        assert looks(next(iter(run.loader(1)))[0]) == looks(run.batches.blank())


@pytest.mark.parametrize("other", [{"run.compile": True}, {"run.memory": "cached"}])
def test_what_cannot_be_recorded_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"run\.cuda_graph goes with neither run\.compile nor"):
        override(Config(), {"run.cuda_graph": True} | other)
