"""Device, precision, and the time that a call takes; compiled networks are in test_train.py."""

from __future__ import annotations

import time

import pytest
import torch

from supcon.network.device import pick_device, precision_tools, seconds_of
from supcon.parsing import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "has_gpu", "expected"),
    [("cpu", True, CPU), ("cpu", False, CPU), ("auto", True, CUDA), ("auto", False, CPU)],
)
def test_the_device_is_the_one_that_was_asked_for_and_auto_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, name: str, has_gpu: bool, expected: torch.device
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert pick_device(name) == expected


def test_cuda_is_taken_where_it_is_and_refused_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("cuda") == CUDA
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^run\.device: cuda was asked for, but .*; use auto or"):
        pick_device("cuda")


@pytest.mark.parametrize(
    ("precision", "dtype", "is_scaled"),
    [
        ("fp32", torch.float32, False),
        ("bf16", torch.bfloat16, False),
        ("fp16", torch.float16, True),
        ("auto", torch.float32, False),
    ],
)
def test_a_product_on_the_cpu_has_the_precision_that_was_asked_for(
    precision: str, dtype: torch.dtype, is_scaled: bool
) -> None:
    autocast, scaler = precision_tools(precision, CPU)
    for _ in range(2):  # each call makes a context of its own
        with autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert scaler.is_enabled() is is_scaled


@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_is_bf16_on_a_gpu_that_has_it_in_hardware(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool
) -> None:
    # What torch asks of a GPU, answered for one that is not there.
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: has_bf16 or including_emulation,
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked: list[tuple[torch.dtype, bool]] = []
    monkeypatch.setattr(
        torch, "autocast", lambda kind, dtype, enabled: asked.append((dtype, enabled))
    )
    autocast, _ = precision_tools("auto", CUDA)
    autocast()
    assert asked == [(torch.bfloat16, has_bf16)]


def test_a_call_takes_as_long_as_it_does() -> None:
    assert 0 <= seconds_of(lambda: None, CPU) < seconds_of(lambda: time.sleep(0.05), CPU)
    assert seconds_of(lambda: time.sleep(0.05), CPU) >= 0.05


@pytest.mark.parametrize(("device", "waits"), [(CPU, False), (CUDA, True)])
def test_a_gpu_is_waited_for_before_and_after_the_call(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, waits: bool
) -> None:
    happened: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: happened.append("wait"))
    seconds_of(lambda: happened.append("call"), device)
    assert happened == (["wait", "call", "wait"] if waits else ["call"])
