"""Device, precision, and the time that a call takes; compiled networks are in test_train.py."""

from __future__ import annotations

import time
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from supcon.network.device import (
    check_driver,
    check_gpu,
    compiled,
    driver_version,
    pick_device,
    precision_tools,
    seconds_of,
    send,
    usable_gpus,
)
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


TOO_OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). "
    "Please update your GPU driver"
)


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says of 2 GPUs whose driver is too old for it: NVML counts them all the same."""

    def is_available() -> bool:
        warnings.warn(TOO_OLD, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr("supcon.network.device.driver_version", lambda: "470.57.02")


@pytest.mark.usefixtures("old_driver")
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_driver_that_is_too_old_is_named_in_one_line_and_nothing_trains_in_silence(
    name: str,
) -> None:
    with pytest.raises(UserError) as error:
        pick_device(name)
    assert str(error.value) == (
        f"GPU: there are 2, but the driver (470.57.02) does not serve torch {torch.__version__}, "
        f"which was built for CUDA 13.0; torch says: CUDA initialization: The NVIDIA driver on "
        f"your system is too old (found version 11040); update the driver, install a torch for an "
        f"older CUDA, or train on the CPU (a search: --gpus-per-trial 0; else run.device: cpu)"
    )


@pytest.mark.usefixtures("old_driver")
@pytest.mark.filterwarnings("ignore:CUDA initialization")
def test_gpus_that_cannot_be_used_do_not_count_and_the_cpu_needs_no_driver() -> None:
    assert usable_gpus() == 0
    assert pick_device("cpu") == CPU


def test_a_process_that_was_given_a_gpu_and_has_none_says_where_and_with_which_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_gpu()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("supcon.network.device.driver_version", lambda: "470.57.02")
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    with pytest.raises(UserError, match=r"on node7, .* finds none \(driver 470\.57\.02\)"):
        check_gpu()


@pytest.mark.usefixtures("old_driver")
@pytest.mark.filterwarnings("ignore:CUDA initialization")
def test_a_process_that_was_given_a_gpu_whose_driver_is_too_old_says_so() -> None:
    with pytest.raises(UserError, match=r"the driver \(470\.57\.02\) does not serve torch"):
        check_gpu()


@pytest.mark.parametrize(("n", "is_available"), [(0, False), (2, True)])
def test_gpus_that_are_there_or_not_are_counted(
    monkeypatch: pytest.MonkeyPatch, n: int, is_available: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
    check_driver()
    assert usable_gpus() == n


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13\nGCC version: 9", "470.57.02"),
        ("NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
        ("something else", "of unknown version"),
        (None, "of unknown version"),
    ],
)  # fmt: skip
def test_the_driver_is_told_by_what_its_kernel_module_says(
    tmp_path: Path, text: str | None, version: str
) -> None:
    if text is not None:
        (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == version


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


def test_a_copy_to_a_gpu_is_pinned_and_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []

    def pin(self: torch.Tensor) -> torch.Tensor:
        done.append("pinned")
        return self

    def to(self: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        done.append((device.type, non_blocking))
        return self

    images = torch.arange(3)
    assert send(images, torch.device("cpu")) is images
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    send(images, torch.device("cuda"))
    assert done == ["pinned", ("cuda", True)]


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


def test_runs_in_one_process_compile_each_for_its_own_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = CompileCounterWithBackend("eager")
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=seen))
    for n in range(2, 14):  # torch gives up after 8 graphs of one function
        compiled(nn.Linear(4, 3))(torch.ones(n, 4))
        assert seen.frame_count == n - 1
        inputs = [node for node in seen.graphs[-1].graph.nodes if node.op == "placeholder"]
        sizes = [size for node in inputs for size in node.meta["example_value"].shape]
        assert all(isinstance(size, int) for size in sizes)  # and not any size
