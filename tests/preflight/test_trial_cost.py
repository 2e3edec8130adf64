"""What a trial of each kind of config costs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from search.preflight.step_cost import STEPS, WARM_UP
from search.preflight.trial_cost import (
    LEAST_IMAGES,
    RESERVE,
    CannotRun,
    TrialCost,
    _free,
    cost_here,
    cost_of,
    cost_on_node,
    kinds,
    measure_costs,
)
from search.space.loading import load_space, parse_space
from search.space.resources import ConfigKind
from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.split import Splits
from supcon.parsing import UserError
from supcon.train import Run
from tests.written import TREE

ROOT = Path(__file__).resolve().parents[2]
PARAMS: dict[str, Any] = {
    "data.batch_size": {"pow2": [64, 256]},
    "model.backbone": {"choice": ["test_resnet", "resnet18"]},
}


def test_every_kind_of_every_arm_is_measured_once() -> None:
    arms = {"a": {"loss.name": "ce"}, "b": {"loss.name": "supcon", "model.backbone": "resnet34"}}
    space = parse_space(TREE | {"params": PARAMS, "arms": arms}, "x")
    found = [ConfigKind.of(config)[:2] for config in kinds(space)]
    assert len(found) == len(set(found)) == 9
    assert {name for name, _ in found} == {"test_resnet", "resnet18", "resnet34"}


def test_the_shipped_cifar100_space_can_be_shared_out_by_itself() -> None:
    plain = load_space(ROOT / "spaces" / "cifar100.yaml", {"resources.gpu": "auto"})
    found = [ConfigKind.of(config)[:2] for config in kinds(plain)]
    assert len(found) == 3 * 4
    assert ("resnet50", 1024) in found


def test_a_kind_that_cannot_run_costs_a_line_and_the_others_are_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(config: Config) -> TrialCost:
        if config.data.batch_size == 128:
            raise RuntimeError("out of memory\ntried to allocate 9 GiB")
        return TrialCost(config, 1.0, 0.1, 1234.5, memory=2**30, capacity=2**33, checkpoint=1)

    drawn = {"data.batch_size": PARAMS["data.batch_size"]}
    found = measure_costs(parse_space(TREE | {"params": drawn}, "x"), run)
    assert [isinstance(each, CannotRun) for each in found] == [False, True, False]
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("cost      resnet18, batch ") for line in lines)
    assert lines[0].endswith("batch 64, auto: 1.00 GiB, 1,234 views/s alone")
    assert "batch 128, auto: cannot run: out of memory" in lines[1]


def test_the_first_mode_that_runs_is_what_auto_becomes() -> None:
    limits, tried = {"plain": 100, "checkpoint": 300, "cached": 1e9}, []

    def run(config: Config) -> TrialCost:
        tried.append((config.data.batch_size, config.run.memory))
        if config.data.batch_size > limits[config.run.memory]:
            raise RuntimeError("out of memory")
        return TrialCost(config, 1.0, 0.1, 1.0, memory=1, capacity=9, checkpoint=1)

    drawn = {"data.batch_size": {"choice": [64, 256, 512]}}
    found = measure_costs(parse_space(TREE | {"params": drawn}, "x"), run)
    kinds_of = [ConfigKind.of(each.config) for each in found]
    assert [k.memory_mode for k in kinds_of] == ["plain", "checkpoint", "cached"]
    # 64 images in 2 views are no more than a micro-batch, and plain ran.
    assert tried == [(64, "plain"), (256, "plain"), (256, "checkpoint")] + [
        (512, mode) for mode in ("plain", "checkpoint", "cached")
    ]
    base = {"run": {"epochs": 9, "memory": "checkpoint"}}
    (one,) = measure_costs(parse_space(TREE | {"base": base}, "x"), run)
    assert one.config.run.memory == "checkpoint"


def test_a_trial_costs_what_its_own_steps_take(tiny: Config, digits: Splits) -> None:
    found = cost_of(tiny, digits)
    steps = len(digits.train) // tiny.data.batch_size
    views = tiny.data.batch_size * tiny.augment.views
    assert found.epoch_seconds == pytest.approx(steps * views / found.views_per_second)
    assert 0 < found.evaluation_seconds < 60
    assert 0 < found.memory < 2**36
    assert found.checkpoint > 1000
    assert (found.usable, found.busy) == (1, None)  # there is no GPU
    assert 0 < found.start_seconds < 60
    assert cost_of(tiny, digits, started=time.time() - 100).start_seconds > 100


def test_a_gpu_s_capacity_is_what_others_leave_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * 2**30, 80 * 2**30))
    capacity, usable = _free(torch.device("cuda"))
    assert capacity == 20 * 2**30 - RESERVE
    assert usable == capacity / (80 * 2**30)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 80 * 2**30))
    assert _free(torch.device("cuda")) == (0, 0)


def test_on_a_node_that_has_no_gpu_for_it_nothing_is_measured_on_the_cpu(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="this process was given one on"):
        cost_on_node(tiny, digits, on_gpu=True)


def test_a_network_that_takes_long_is_timed_on_few_steps_and_scored_on_a_part(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, scored = list[int](), list[int]()
    step, evaluate = Run.step, Run.evaluate

    def count(run: Run, *batch: Tensor) -> Tensor:
        steps.append(1)
        return step(run, *batch)

    def look(run: Run) -> Trained:
        scored[:] = [len(run.data.train), len(run.data.val)]
        return evaluate(run)

    def two_seconds(call: Callable[[], object], device: torch.device) -> float:
        call()
        return 2.0

    monkeypatch.setattr(Run, "step", count)
    monkeypatch.setattr(Run, "evaluate", look)
    monkeypatch.setattr("search.preflight.trial_cost.seconds_of", two_seconds)
    monkeypatch.setattr("search.preflight.step_cost.seconds_of", two_seconds)
    monkeypatch.setattr("search.preflight.step_cost.STEP_SECONDS", 1e9)
    whole = cost_of(tiny, digits)
    assert (len(steps), scored) == (WARM_UP + STEPS, [len(digits.train), len(digits.val)])
    steps.clear()
    monkeypatch.setattr("search.preflight.step_cost.STEP_SECONDS", 0)
    monkeypatch.setattr("search.preflight.trial_cost.EVALUATION_SECONDS", 1e-6)
    part = cost_of(tiny, digits)
    assert (len(steps), scored) == (1, [LEAST_IMAGES, LEAST_IMAGES])
    n = len(digits.train) + len(digits.val)
    assert whole.evaluation_seconds == 2.0
    assert part.evaluation_seconds == pytest.approx(2.0 * n / (2 * LEAST_IMAGES))


@pytest.mark.slow
def test_a_process_that_measures_fails_before_the_machine_is_out_of_memory() -> None:
    code = """if True:
        import torch
        from search.preflight import trial_cost
        trial_cost.free_memory = lambda: 300 * 2**20
        trial_cost._cap_memory(torch.device("cpu"))
        fits = torch.ones(50 * 2**20)
        try:
            torch.ones(100 * 2**20)
        except RuntimeError as error:
            print(error)
    """
    ran = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert "can't allocate memory" in ran.stdout


@pytest.mark.slow
def test_a_cost_is_measured_in_a_process_of_its_own(tiny: Config, digits: Splits) -> None:
    run = cost_here(digits)
    assert run(tiny).views_per_second > 0
    with pytest.raises(RuntimeError, match="timm has no model 'resnt18'"):
        run(override(tiny, {"model.backbone": "resnt18"}))
