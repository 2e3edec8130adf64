"""One trial as Ray runs it: an actor that had other trials before gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from search.engine.trial_actor import (
    LostGpu,
    SupConTrial,
    cap_memory,
    has_lost_gpu,
    is_out_of_memory,
)
from search.log.folder import StudyFolder
from search.preflight.packing import MARGIN
from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.parsing import UserError
from supcon.recipe.checkpoint import load_state
from supcon.train import Run

GIB = 2**30
EVERY_EPOCH = {"run.eval_every": 1}
OTHER = {
    **EVERY_EPOCH, "loss.name": "ce", "data.batch_size": 50, "optim.name": "adamw",
    "optim.lr_per_256": 0.01, "run.precision": "bf16", "data.pipeline": "resident", "run.seed": 7,
}  # fmt: skip
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}
IMPOSSIBLE = {"data.batch_size": 128}  # more than a quarter of the images
Start = Callable[[dict[str, Any]], SupConTrial]
Outcome = tuple[list[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def start(digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts an actor with its first trial, in this process and without a cluster."""
    study = StudyFolder(tmp_path_factory.mktemp("study"))

    class Actor(SupConTrial):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, digits, study)

    return Actor


@pytest.fixture(scope="module")
def expected(start: Start, tiny: Config) -> Outcome:
    """What an actor that had no other trial makes of the config below."""
    actor = start(trial(tiny, "fresh", EVERY_EPOCH))
    found = results(actor)
    assert [result["epoch"] for result in found] == [1, 2, 3]
    return found, weights(actor)


def trial(
    tiny: Config, name: str, changes: dict[str, Any], phase: str = "search"
) -> dict[str, Any]:
    config = override(tiny, changes).model_dump_json()
    return {"name": name, "phase": phase, "config": config, "gpu": 0, "gpu_memory": 1}


def results(actor: SupConTrial, limit: int = 99) -> list[dict[str, Any]]:
    """What the current trial reports, at most `limit` times, without times."""
    found: list[dict[str, Any]] = []
    while len(found) < limit and not (found and found[-1]["done"]):
        result = actor.step()
        found.append({k: v for k, v in result.items() if "seconds" not in k and k != "first_step"})
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "limit", "outcome"),
    [
        (OTHER, 99, "completed"),
        (OTHER, 1, ""),  # as one that ASHA stops
        (EVERY_EPOCH, 2, ""),  # its very own config, another seed
        (EXPLODING, 99, "diverged"),
        (IMPOSSIBLE, 99, "failed"),
    ],
)
def test_a_trial_does_not_depend_on_what_its_actor_ran_before(
    start: Start, expected: Outcome, tiny: Config, tmp_path: Path,
    before: dict[str, Any], limit: int, outcome: str,
) -> None:  # fmt: skip
    actor = start(trial(tiny, f"{tmp_path.name}-before", {"run.seed": 1, **before}))
    assert results(actor, limit)[-1]["outcome"] == outcome
    assert actor.reset(trial(tiny, f"{tmp_path.name}-after", EVERY_EPOCH))
    assert (results(actor), weights(actor)) == expected
    actor.stop()


def weights(actor: SupConTrial) -> dict[str, Any]:
    state = load_state(actor.folder / "last.pt")
    return {name: tensor.tolist() for name, tensor in state["network"].items()}


def test_a_trial_says_when_it_began_to_train_and_what_evaluation_took(
    start: Start, tiny: Config
) -> None:
    result = start(trial(tiny, "x", EVERY_EPOCH)).step()
    assert result["evaluation_seconds"] > 0
    assert result["first_step"] > 1.7e9


def test_an_actor_says_which_trial_it_trains_and_how_far_it_is(start: Start, tiny: Config) -> None:
    changes = {**EVERY_EPOCH, "loss.temperature": 0.0712345, "model.backbone": "test_resnet"}
    actor = start(trial(tiny, "supcon-12", changes))
    assert repr(actor) == "supcon-12 test_resnet τ=0.0712 epoch 0/3"
    actor.step()
    assert repr(actor) == "supcon-12 test_resnet τ=0.0712 epoch 1/3"
    actor.reset_config(trial(tiny, "ce-3", {**EVERY_EPOCH, "loss.name": "ce"}))
    assert repr(actor) == "ce-3 test_resnet epoch 0/3"


@pytest.mark.parametrize(
    ("phase", "is_kept"), [("search", False), ("pick", False), ("confirm", True)]
)
def test_only_a_run_that_is_to_be_tested_leaves_its_model(
    start: Start, tiny: Config, phase: str, is_kept: bool
) -> None:
    name = f"ce-{phase}-0"
    actor = start(trial(tiny, name, {"run.epochs": 1}, phase))
    assert results(actor)[-1]["outcome"] == "completed"
    assert actor.study.model(name).exists() is is_kept
    assert actor.study.checkpoint(name).exists()


def test_the_trace_of_an_error_is_kept_in_the_folder_of_the_trial(
    start: Start, tiny: Config
) -> None:
    actor = start(trial(tiny, "ce-9", IMPOSSIBLE))
    result = actor.step()
    assert result["detail"].startswith("UserError: data.batch_size must be at most a quarter")
    assert "Traceback" in (actor.folder / "error.txt").read_text()


# What fails on a GPU


ILLEGAL = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"
NO_ENGINE = "GET was unable to find an engine to execute this computation"


@pytest.mark.parametrize(
    ("error", "is_memory", "is_lost"),
    [
        (MemoryError(), True, False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), True, False),
        (torch.AcceleratorError("CUDA error: out of memory"), True, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`"), True, True),
        (RuntimeError(NO_ENGINE), True, False),
        (RuntimeError(NO_ENGINE.replace("GET", "FIND")), True, False),
        (RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"), True, False),
        (torch.AcceleratorError(ILLEGAL), False, True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), False, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("CUDA error"), False, False),
    ],
)  # fmt: skip
def test_a_lack_of_memory_and_a_lost_gpu_are_told_by_the_words_of_torch_and_its_libraries(
    error: Exception, is_memory: bool, is_lost: bool
) -> None:
    assert is_out_of_memory(error) is is_memory
    assert has_lost_gpu(error) is is_lost


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def train(run: Run) -> None:
        raise error

    monkeypatch.setattr(Run, "train_epoch", train)


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError("CUDA error: out of memory"), RuntimeError(NO_ENGINE)]
)
def test_a_lack_of_memory_is_infeasible_in_whoever_s_words(
    start: Start, tiny: Config, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error)
    result = start(trial(tiny, "ce-1", EVERY_EPOCH)).step()
    assert (result["outcome"], result["detail"]) == ("infeasible", str(error))


def test_a_gpu_that_is_lost_ends_the_process_which_touches_it_no_more(
    start: Start, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = start(trial(tiny, "ce-2", EVERY_EPOCH))
    failing(monkeypatch, torch.AcceleratorError(ILLEGAL))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("raises, too"))
    # Ray ends a worker that raises, tells of the last line, and starts its trial in another.
    with pytest.raises(LostGpu, match=r"^CUDA error: an illegal memory .* might be$"):
        actor.step()
    actor.stop()


def test_a_trial_with_a_share_of_a_gpu_that_torch_cannot_use_does_not_train_on_the_cpu(
    start: Start, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("supcon.network.device.driver_version", lambda: "470.57.02")
    result = start(trial(tiny, "ce-3", {"run.device": "auto"}) | {"gpu": 0.25}).step()
    assert result["outcome"] == "failed"
    assert "UserError: GPU: there is 1, but the driver (470.57.02)" in result["detail"]


# Shares of a GPU


@pytest.mark.parametrize("share", [0.25, 0.3333, 1.0])
def test_a_process_may_reserve_its_share_less_a_context(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Properties:
        total_memory = 80 * GIB

    caps: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", caps.append)
    cap_memory(share)
    assert caps == [share - 1 / 80 if share < 1 else 1]
    # The cap leaves a trial what its kind was measured to need, with the margin.
    k = int(1 / share) if share < 1 else 1
    most = (80 / k - 1) / MARGIN if share < 1 else 80 / MARGIN
    assert caps[0] * 80 >= most


def test_a_share_that_leaves_nothing_beside_cuda_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Properties:
        total_memory = 8 * GIB

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    with pytest.raises(UserError, match=r"0.1 of this GPU's 8.0 GiB leave nothing"):
        cap_memory(0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_process_that_wants_more_than_its_share_runs_out_of_memory() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        cap_memory(0.25)
        fits = torch.empty(int(0.2 * total), dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.1 * total), dtype=torch.uint8, device="cuda")
        del fits
        cap_memory(1.0)  # the actor's next trial has the GPU to itself
        torch.cuda.empty_cache()
        torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
