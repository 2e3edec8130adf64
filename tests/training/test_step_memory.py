"""What a step takes of memory, counted, against what it does take."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from supcon import step_memory
from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.parsing import UserError
from supcon.recipe.objective import objective
from supcon.recipe.recomputation import unchanged_buffers
from supcon.step_memory import (
    LOSS_MATRICES,
    LiveTensors,
    mode_that_fits,
    modes,
    settle_memory,
    step_bytes,
)
from supcon.train import Run

CPU = torch.device("cpu")
LARGE: dict[str, Any] = {"data.batch_size": 8192, "loss.name": "ce", "run.precision": "fp32"}


def test_live_tensors_are_counted_once_and_as_long_as_they_live() -> None:
    with LiveTensors() as live:
        kept = torch.ones(1000)
        view = kept[10:]
        torch.ones(500)
        assert (live.bytes, live.peak) == (4000, 6000)
        del kept
        assert live.bytes == 4000  # the view has it
        del view
    assert (live.bytes, live.peak) == (0, 6000)


def test_activations_count_until_the_backward_pass_has_used_them() -> None:
    weight = torch.ones(10, 10, requires_grad=True)
    with LiveTensors() as live:
        loss = (torch.ones(100, 10) @ weight).relu().square().mean()
        before = live.bytes
        loss.backward()
    assert before > 4000 + 4000  # input and output of relu, at least
    assert live.bytes == 400 + 4  # the gradient and the loss


@pytest.mark.parametrize(
    "changes", [{}, {"run.memory": "checkpoint"}, {"run.memory": "cached", "run.micro_batch": 16}]
)
def test_what_is_counted_is_what_a_real_step_has_alive(
    tiny: Config, digits: Splits, changes: dict[str, Any]
) -> None:
    config = override(tiny, {"loss.name": "ce", "run.precision": "fp32"} | changes)
    run = Run(config, digits)
    images, _ = next(iter(run.loader(1)))
    with LiveTensors() as live:  # of micro-batches, two are counted
        loss = run.forward(images[: 2 * config.run.micro_batch]).square().mean()
        with unchanged_buffers(run.network) if config.run.recomputes else nullcontext():
            loss.backward()
    weights = sum(p.numel() * 4 for p in run.network.parameters())
    around = step_memory.COPIES * weights + images.nbytes
    assert step_bytes(config, digits, CPU) == pytest.approx(around + live.peak, rel=0.01)


@pytest.mark.parametrize(
    ("loss", "is_mixed"),
    [("supcon", False), ("sincere", False), ("simclr", False), ("supcon", True)],
)
def test_a_contrastive_loss_has_no_more_matrices_than_are_counted(
    loss: str, is_mixed: bool
) -> None:
    z, n = torch.randn(256, 8, requires_grad=True), 256
    loss_of = objective(override(Config(), {"loss.name": loss}), torch.ones(10) / 10)
    labels = torch.arange(n) % 10
    soft = torch.nn.functional.one_hot(labels, 10).float()
    with LiveTensors() as live:
        loss_of(z, soft if is_mixed else labels).backward()
    assert (LOSS_MATRICES - 1) * 4 * n**2 < live.peak <= LOSS_MATRICES * 4 * n**2 + 10 * z.nbytes


def test_micro_batches_take_at_most_a_third(tiny: Config, digits: Splits) -> None:
    plain, cached = (
        step_bytes(override(tiny, LARGE | {"run.memory": memory}), digits, CPU)
        for memory in ("plain", "cached")
    )
    assert cached < plain / 3


def test_half_precision_takes_half_of_the_activations(tiny: Config, digits: Splits) -> None:
    full, half = (
        step_bytes(override(tiny, LARGE | {"run.precision": precision}), digits, CPU)
        for precision in ("fp32", "bf16")
    )
    assert 0.5 * full < half < 0.6 * full


@pytest.mark.parametrize(
    ("room", "expected"), [(125, "plain"), (124, "checkpoint"), (50, "cached"), (0, "cached")]
)
def test_auto_is_the_fastest_mode_that_fits(
    tiny: Config, digits: Splits, room: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"plain": 100, "checkpoint": 70, "cached": 20}
    monkeypatch.setattr(step_memory, "step_bytes", lambda c, *_: taken[c.run.memory])
    small = override(tiny, {"data.batch_size": 8})
    assert mode_that_fits([small, tiny], digits, CPU, room=room) == expected


def test_a_backbone_without_checkpoints_goes_on_to_micro_batches(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(config: Config, *_: object) -> int:
        if config.run.memory == "checkpoint":
            raise UserError("not offered")
        return 100 if config.run.memory == "plain" else 10

    monkeypatch.setattr(step_memory, "step_bytes", count)
    assert mode_that_fits([tiny], digits, CPU, room=50) == "cached"


def test_what_the_config_says_is_left_alone_and_auto_gets_a_part_of_what_is_free(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_memory, "step_bytes", lambda *_: 100)
    monkeypatch.setattr(step_memory, "free_bytes", lambda _: 300)
    assert settle_memory([tiny], digits) == {"run.memory": "plain"}
    assert settle_memory([tiny], digits, part=1 / 3) == {"run.memory": "cached"}
    assert settle_memory([override(tiny, {"run.memory": "plain"})], digits, part=0) == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["plain", "checkpoint"]),  # 64 views
        ({"run.micro_batch": 63}, ["plain", "checkpoint", "cached"]),
        ({"run.memory": "cached"}, ["cached"]),
    ],
)
def test_micro_batches_are_no_way_out_for_a_batch_that_is_not_cut(
    tiny: Config, changes: dict[str, Any], expected: list[str]
) -> None:
    assert modes(override(tiny, changes)) == expected


def test_what_cannot_be_counted_is_left_plain(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: object) -> int:
        return int(torch.empty(1, device="meta").item())

    monkeypatch.setattr(step_memory, "step_bytes", look)
    assert mode_that_fits([tiny], digits, CPU, room=0) == "plain"
